import pytest
from PIL import Image

from bagoftricks.measure.speed import Timing
from bagoftricks.rng import Key


@pytest.fixture
def untimed(monkeypatch):
    """Nothing is measured at the end of a run: it would take longer than the run."""
    monkeypatch.setattr("bagoftricks.run.costs.time_inference", lambda *args, **kwargs: Timing(64, 1.0, 1.0, 1.0, 5))


@pytest.fixture
def photos(tmp_path):
    rng = Key(0).fold("photos").numpy()
    for split, count in (("train", 12), ("val", 4)):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (80, 90, 3), dtype="uint8")
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{i}.jpg")
    (tmp_path / "photos/train/cat/3.jpg").write_bytes(b"broken")
    return tmp_path / "photos"
