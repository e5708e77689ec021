"""A few damages of each kind of file; scripts/torture files has thousands."""

from tests.torture_files import torture_files


def test_no_damage_of_a_file_changes_a_value_in_silence_or_ends_in_a_traceback(tmp_path):
    found = torture_files(tmp_path, count=25, seed=1)
    assert found["wrong"] == []
    assert found["damaged"] == 325
    assert sum(kind.get("refused", 0) for kind in found["kinds"].values()) > 200
