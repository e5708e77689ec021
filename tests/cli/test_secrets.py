"""No file of a store holds a secret: those of settings whose names look secret, and passwords in addresses."""

import json

import pytest

from bagoftricks.store.secrets import (
    HIDDEN,
    fingerprinted,
    hide,
    hide_command,
    hide_text,
    is_secret,
    secrets_in,
)
from tests.cli.test_commands import FAST, one_line

PLUGIN = '''
import numpy as np
import torch

from bagoftricks.plugins import Dataset, DataSettings, MemorySplit, dataset, memory_digest, trick


@dataset(name="guarded")
class Guarded(DataSettings):
    """Images behind a token."""

    api_token: str = ""
    """token of the service"""
    broken: bool = False
    """fail with the token in the message"""

    def find(self):
        if self.broken or not self.api_token.startswith("s3cr"):
            raise RuntimeError(f"401 for {self.api_token!r}")
        labels = np.arange(64) % 2
        images = torch.arange(64 * 3 * 64).remainder(251).to(torch.uint8).view(64, 3, 8, 8)
        split = MemorySplit(images, labels.astype(np.int64))
        return Dataset(self.name, ("a", "b"), split, split, memory_digest(split))
'''
SECRET = "s3cr3t+Value"


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "API_TOKEN",
        "hf_token",
        "password",
        "db_passwd",
        "secret",
        "api_key",
        "apikey",
        "key",
        "credentials",
        "apiToken",
        "hftoken",
        "secretAccessKey",
        "db_pwd",
        "passwords",
        "api_keys",
        "Authorization",
    ],
)
def test_names_that_look_secret(name):
    assert is_secret(name)
    assert hide({"data": {name: SECRET, "root": "here"}}) == {"data": {name: HIDDEN, "root": "here"}}
    assert SECRET not in hide_command(f"bot-train 'data.{name}={SECRET} x' lr=0.1")


@pytest.mark.parametrize("name", ["tokens", "monkey", "keyboard", "author", "num_keys", "secretary", "root"])
def test_names_that_do_not(name):
    assert hide({name: "text"}) == {name: "text"}


@pytest.mark.parametrize("held", [[SECRET], [[SECRET]], {"a": SECRET}, {"a": [SECRET]}])
def test_secrets_within_a_secret_are_hidden(held):
    assert SECRET not in f"{hide({'token': held})} {fingerprinted({'token': held})}"
    assert [value for _, value in secrets_in({"data": {"token": held}})] == [SECRET]


def test_numbers_and_empty_texts_are_no_secrets():
    assert hide({"token": 3, "key": "", "secret": None}) == {"token": 3, "key": "", "secret": None}


@pytest.mark.parametrize(
    ("command", "hidden"),
    [
        ("bot-train '+data={a: 1, token: x y, b: 2}'", "bot-train '+data={a: 1, token: ***, b: 2}'"),
        ("bot-train data.root=s3://me:pw@host/x", "bot-train 'data.root=s3://***@host/x'"),
        ("bot-train 'data.token=it'\"'\"'s a'", "bot-train 'data.token=***'"),
        ("bot-sweep 'tricks=[x(token=abc,alpha=2)]'", "bot-sweep 'tricks=[x(token=***,alpha=2)]'"),
        ("bot-train lr=0.1 'label=a b'", "bot-train lr=0.1 'label=a b'"),
    ],
)
def test_a_command_is_kept_without_its_secrets(command, hidden):
    assert hide_command(command) == hidden


def test_an_error_is_kept_without_the_secrets_of_the_settings():
    assert hide_text(f"401 for '{SECRET}'", {"data": {"token": SECRET}}) == f"401 for '{HIDDEN}'"


def test_another_secret_is_another_run_whose_identity_does_not_tell_it():
    one, two = (fingerprinted({"data": {"token": text}, "name": "x"}) for text in (SECRET, "other"))
    assert one != two
    assert one["name"] == "x"
    assert SECRET not in json.dumps(one)


def holders(folder):
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_no_byte_of_a_store_is_of_a_secret(bot, tmp_path):
    (tmp_path / "guarded.py").write_text(PLUGIN)
    settings = [word for word in FAST if not word.startswith(("data", "batch_size"))]
    typed = ["plugins=[guarded.py]", "data=guarded", f"data.api_token={SECRET}", "data.image_size=8", "batch_size=16"]
    checkpoints = ["runtime.checkpoint_steps=1"]
    done = bot("bot-train", *settings, *typed, *checkpoints, "format=json")
    assert done.status == 0, done.err
    run = json.loads(done.out)
    failed = bot("bot-train", *settings, *typed, "data.broken=true")
    assert failed.status == 1
    swept = bot("bot-sweep", "design=one_at_a_time", "tricks=[mixup]", "slots=1", *settings, *typed, *checkpoints)
    assert swept.status == 0, swept.err
    assert holders(tmp_path / "results") == []
    again = ["bot-eval", "plugins=[guarded.py]", f"run={run['id']}"]
    assert "data.api_token is not kept in records: type it again" in one_line(bot(*again))
    assert bot(*again, f"data.api_token={SECRET}").status == 0
    assert holders(tmp_path / "results") == []
