"""The map of the code in CONTRIBUTING.md is that of the layers: ``python -m tests.test_contributing`` writes it."""

import re
from pathlib import Path

from bagoftricks.study.experiment import load_experiment
from tests.test_architecture import LAYERS, PACKAGE

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
BEGIN, END = "<!-- map: python -m tests.test_contributing -->", "<!-- end of the map -->"


def with_map(text: str) -> str:
    """Return the text with its map made again from the layers."""
    before, _, rest = text.partition(BEGIN)
    rows = ["| layer | module | its one idea | it may import |", "|--:|---|---|---|"]
    for height, layer in reversed(list(enumerate(LAYERS))):
        below = f"layers 0 to {height - 1}" if height > 1 else "layer 0" if height else "nothing of ours"
        for module, idea in layer.items():
            name = f"`{module}/`" if (PACKAGE / module).is_dir() else f"`{module}.py`"
            rows.append(f"| {height} | {name} | {idea} | {below} |")
    table = "\n".join(rows)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def test_the_map_is_that_of_the_architecture_test():
    text = CONTRIBUTING.read_text(encoding="utf-8")
    assert with_map(text) == text, "CONTRIBUTING.md has a stale map: type python -m tests.test_contributing"


def test_a_stale_map_is_replaced_and_the_rest_is_kept():
    text = CONTRIBUTING.read_text(encoding="utf-8")
    assert with_map(text.replace("| `run/` |", "| `walk/` |")) == text


def example(name: str) -> str:
    """Return the example of CONTRIBUTING.md that begins with a comment of its file's name."""
    return re.search(rf"```\w+\n(# {name}\n.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)[1]


def test_the_example_of_a_logger_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(example("curve.py"), "curve.py", "exec"), {"__name__": "curve"})
    assert len(capsys.readouterr().out.split("[")[1].split(",")) == 2


def test_the_example_of_an_experiment_is_read(tmp_path):
    path = tmp_path / "smoothing.yaml"
    path.write_text(example("smoothing.yaml"), encoding="utf-8")
    assert [arm.label for arm in load_experiment(str(path), "laptop").arms] == [
        "baseline",
        "+ smoothing 0.1",
        "+ smoothing 0.2",
    ]


if __name__ == "__main__":
    CONTRIBUTING.write_text(with_map(CONTRIBUTING.read_text(encoding="utf-8")), encoding="utf-8")
