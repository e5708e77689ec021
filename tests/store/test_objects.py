"""One contract of objects, over a folder and over a real server, so that each checks the other."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from bagoftricks.errors import StoreUnreachable, UserError
from bagoftricks.store.addresses import open_objects
from bagoftricks.store.objects import FolderObjects, ServerClock, safe_key
from bagoftricks.store.place import place_of


@pytest.fixture(params=["folder", "server"])
def objects(request, tmp_path):
    if request.param == "folder":
        return FolderObjects(tmp_path / "objects")
    return request.getfixturevalue("server").objects()


def test_an_object_is_what_was_put(objects):
    assert objects.get("a/b") is None
    version = objects.put("a/b", b"first")
    found = objects.get("a/b")
    assert (found.data, found.version) == (b"first", version)


def test_a_version_differs_after_each_change(objects):
    versions = [objects.put("a", f"{number}".encode()) for number in range(5)]
    assert len(set(versions)) == 5


def test_a_file_of_any_size_goes_there_and_back(objects, tmp_path):
    data = bytes(range(256)) * 2**17  # 32 MiB: in parts
    (tmp_path / "up").write_bytes(data)
    version = objects.upload("a/big", tmp_path / "up")
    assert objects.download("a/big", tmp_path / "down") == version
    assert (tmp_path / "down").read_bytes() == data
    assert objects.download("a/none", tmp_path / "none") is None
    (listed,) = objects.list()
    assert (listed.key, listed.size, listed.tag) == ("a/big", len(data), version.tag)


def test_one_of_many_puts_an_absent_object(objects):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: objects.put_if_absent("a", b"%d" % number), range(8)))
    (winner,) = [number for number, version in enumerate(made) if version is not None]
    assert objects.get("a").data == b"%d" % winner


def test_one_of_many_replaces_a_version(objects):
    version = objects.put("a", b"old")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: objects.replace("a", b"%d" % number, version), range(8)))
    (winner,) = [number for number, new in enumerate(made) if new is not None]
    assert objects.get("a").data == b"%d" % winner


def test_an_object_that_is_gone_is_not_replaced(objects):
    version = objects.put("a", b"old")
    objects.delete("a")
    assert objects.replace("a", b"new", version) is None
    assert objects.get("a") is None
    objects.delete("a")  # nor is it an error to delete it again


def test_a_listing_has_what_is_below_a_folder(objects):
    for key in ("run/record.json", "run/checkpoints/000000001.safetensors", "runner/record.json", "ö ü/100%#+.json"):
        objects.put(key, b"x")
    assert [listed.key for listed in objects.list("run")] == [
        "run/checkpoints/000000001.safetensors",
        "run/record.json",
    ]
    assert "ö ü/100%#+.json" in [listed.key for listed in objects.list()]
    assert objects.list("ru") == []


def test_a_listing_is_longer_than_one_answer_of_the_server(objects):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: objects.put(f"run/{number}", b""), range(1100)))
    assert len(objects.list("run")) == 1100


def test_the_servers_clock_dates_its_objects(objects):
    clock = ServerClock(objects)
    objects.put("a", b"x")
    assert abs(clock.now() - objects.get("a").modified) < 5


@pytest.mark.parametrize(
    "key", ["/etc/x", "../x", "a/../x", "a//b", "", "a/.hidden", "a\\b/c", "a/b\0", "a/" + "x" * 256]
)
def test_a_key_that_could_name_a_file_elsewhere_is_refused(key):
    assert not safe_key(key)


def test_a_key_of_a_run_is_taken():
    assert safe_key("0123abcd/checkpoints/000000001.safetensors")


# --- addresses and errors ---


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s4://bucket/x", r"none of s3://, gs://, az://, file:///FOLDER or a plain folder$"),
        ("http://bucket/x", "none of s3://"),
        ("s3://", "type s3://BUCKET/FOLDER"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket/x?secret=1", "no address of objects"),
        ("s3://key:secret@bucket/x", "holds credentials"),
        ("file://x/y", "none of s3://"),
    ],
)
def test_an_address_that_is_none_is_one_line(url, message):
    with pytest.raises(UserError, match=message) as raised:
        open_objects(url)
    assert "secret@" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("bagoftricks.store.addresses.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'bagoftricks\[objects\]'"):
        open_objects("s3://bucket/x")


def test_a_bucket_that_is_not_there_is_named(server):
    server.objects()
    objects = open_objects("s3://no-such-bucket/x")
    for use in (objects.list, lambda: objects.get("a"), lambda: objects.put("a", b""), lambda: objects.delete("a")):
        with pytest.raises(StoreUnreachable, match=r"no such bucket: make it, or correct its name$"):
            use()


def test_a_server_that_does_not_answer_is_named(server, monkeypatch):
    server.objects()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("bagoftricks.store.cloud.RETRY_SECONDS", 1)
    with pytest.raises(StoreUnreachable, match=r"does not answer \(AWS_ENDPOINT_URL names another\)"):
        open_objects("s3://bucket/x").list()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnreachable, match=r"Not a directory|File exists"):
        FolderObjects(tmp_path / "file" / "store").put("a", b"")


def test_a_path_is_a_folder_and_an_address_a_copy_in_the_cache(tmp_path):
    assert place_of(tmp_path).root == tmp_path
    place = place_of(f"file://{tmp_path}/objects/")
    assert place.name == f"file://{tmp_path}/objects"
    assert "stores" in place.root.parts
