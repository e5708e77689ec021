import os

import numpy as np
import pytest
from PIL import Image

import bagoftricks as bot
from bagoftricks.folders import forget_user_folders
from bagoftricks.measure.speed import Timing
from bagoftricks.plugins import forget_plugins

FAST = {
    "epochs": 1,
    "batch_size": 64,
    "data": {"limit": 320},
    "model": {"depths": [1], "width": 4},
    "runtime": {"device": "cpu", "progress": False},
}


@pytest.fixture(autouse=True)
def untimed(monkeypatch):
    """Runs do not measure the speed of their network: it takes as long as they do."""
    monkeypatch.setattr("bagoftricks.run.costs.time_inference", lambda *args, **kwargs: Timing(64, 1.0, 1.0, 1.0, 5))
    yield
    forget_plugins()
    forget_user_folders()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run of the digits, in a store of its own."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("bagoftricks.run.costs.time_inference", lambda *args, **kwargs: Timing(64, 1.0, 1.0, 1.0, 5))
        return bot.train("+refine=[mixup,ema,tta_flip]", store=os.fspath(folder / "runs"), **FAST)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(here):
    """Photographs of two classes in folders."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for name in ("cat", "dog"):
            folder = here / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (80, 90, 3), np.uint8)).save(folder / f"{i}.jpg")
    return here / "photos"
