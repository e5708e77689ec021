from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.decode import decode_on
from bagoftricks.data.decode_part import Wanted, decode_scaled
from bagoftricks.data.image_file import ImageFile
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import FileSplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.errors import DataError, UserError
from bagoftricks.rng import Key
from bagoftricks.run.check import check
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.settings import RuntimeSettings, Settings, dataset_settings
from bagoftricks.tasks.segmentation import Segmentation
from tests.pictures import decode_path

KEY, CPU = Key(0), torch.device("cpu")


def photograph(path, width, height, seed=0, **how):
    """Smooth colours with edges and a little noise, as a camera sees them."""
    draw = Key(seed).numpy()
    blobs = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8)).resize((width, height), Image.Resampling.BOX)
    pixels = np.asarray(blobs.filter(ImageFilter.GaussianBlur(3))) + draw.normal(0, 3, (height, width, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(how.pop("mode", "RGB")).save(path, quality=90, **how)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    return [photograph(folder / f"{i}.jpg", 900 + 37 * i, 1300 - 51 * i, i) for i in range(6)]


def split_of(paths):
    return FileSplit(np.array(paths), np.arange(len(paths)))


def squares(files, how, size=64, **settings):
    data = dataset_settings(crop="area", jitter="none", pca=0.0, decode=how, **settings)
    augment = Augment.from_settings(data, size, KEY)
    draws = augment.draws(0, [(0, np.arange(len(files)))])
    return torch.stack([augment.square_of(split_of(files), i, row) for i, row in enumerate(draws.tolist())])


def test_crops_decoded_at_a_reduced_scale_are_those_of_the_whole_image_within_grey_levels(files):
    full, scaled = (squares(files, how).float() for how in ("full", "scaled"))
    off = (scaled - full).abs()
    assert 0 < off.mean() < 1.5  # of 255: another average of the same pixels
    assert off.max() < 32
    assert (scaled - full).mean().abs() < 0.2  # neither brighter nor darker
    shifted = (scaled[..., 1:] - full[..., :-1]).abs().mean()
    assert off.mean() < shifted / 2  # and nothing has moved


def test_validation_images_are_scaled_alike(files):
    full, scaled = (Augment.plain(dataset_settings(decode=how), 96) for how in ("full", "scaled"))
    for i in range(len(files)):
        a, b = (augment.square_of(split_of(files), i, ()).float() for augment in (full, scaled))
        assert 0 < (a - b).abs().mean() < 1.5


@pytest.mark.parametrize(("side", "scale"), [(449, 1), (448, 1), (895, 1), (896, 4), (1791, 4), (1792, 8)])
def test_the_scale_is_the_smallest_that_leaves_the_crop_its_pixels(tmp_path, monkeypatch, side, scale):
    path, asked = tmp_path / "a.jpg", []
    Image.new("RGB", (2000, 1900)).save(path)
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda s, m, z: asked.append(z) or None)
    size = 224 if side != 449 else 225
    assert decode_scaled(ImageFile(str(path)), Wanted(lambda h, w: (10, 20, side, side + 5), size)) is None
    assert asked == ([] if scale == 1 else [(2000 // scale, 1900 // scale)])


def test_a_scaled_box_shows_the_same_place(tmp_path):
    """An edge at a known column comes out at its place, to a fraction of a pixel, wherever the box begins."""
    pixels = np.zeros((512, 640, 3), np.uint8)
    pixels[:, 300:] = 240
    Image.fromarray(pixels).save(tmp_path / "edge.jpg", quality=95)
    for left in (100.0, 101.5, 103.0):
        row = decode_scaled(
            ImageFile(str(tmp_path / "edge.jpg")), Wanted(lambda h, w, left=left: (8, left, 400, 400), 50)
        )[0, 25].float()
        bright = row.sum() / 240  # pixels right of the edge: (left + 400 - 300) / 8
        assert bright == pytest.approx((left + 100) / 8, abs=0.1)


@pytest.mark.parametrize("how", [{"mode": "L"}, {"mode": "CMYK"}, {"progressive": True}, {"subsampling": 0}])
def test_every_kind_of_jpeg_can_be_scaled(tmp_path, how):
    path = photograph(tmp_path / "a.jpg", 640, 480, **how)
    made = decode_scaled(ImageFile(str(path)), Wanted(lambda h, w: (0, 0, h, w), 100))
    whole = decode_path(path).float()[None]
    expected = F.interpolate(whole, (100, 100), mode="bilinear", antialias=True)[0]
    assert (made.float() - expected).abs().mean() < 2


def test_what_is_no_jpeg_or_too_small_is_decoded_whole(tmp_path):
    Image.new("RGB", (800, 800), (9, 8, 7)).save(tmp_path / "a.png")
    assert decode_scaled(ImageFile(str(tmp_path / "a.png")), Wanted(lambda h, w: (0, 0, h, w), 32)) is None
    assert torch.equal(squares([str(tmp_path / "a.png")] * 2, "scaled"), squares([str(tmp_path / "a.png")] * 2, "full"))


def test_a_broken_file_is_named_at_any_scale(tmp_path, files):
    whole = Path(files[0]).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "not.jpg").write_text("no image")
    for name in ("cut.jpg", "not.jpg", "absent.jpg"):
        with pytest.raises(DataError, match=rf"{name} (cannot be read as an image|has vanished)"):
            decode_scaled(ImageFile(str(tmp_path / name)), Wanted(lambda h, w: (0, 0, h, w), 16))


def test_many_files_decoded_on_a_device_are_those_decoded_alone(tmp_path, files):
    Image.new("RGB", (40, 30), (1, 2, 3)).save(tmp_path / "a.png")
    (tmp_path / "not.jpg").write_bytes(b"\xff\xd8\xffno image")
    names = [*files[:2], str(tmp_path / "a.png"), str(tmp_path / "not.jpg")]
    read = [(ImageFile(name), torch.frombuffer(ImageFile(name).read()[1], dtype=torch.uint8)) for name in names]
    assert all(torch.equal(a, decode_path(path)) for a, path in zip(decode_on(CPU, read[:2]), names, strict=False))
    first, png, broken = decode_on(CPU, [read[0], *read[2:]])
    assert torch.equal(first, decode_path(files[0]))
    assert png.shape == (3, 30, 40)
    assert isinstance(broken, DataError)
    assert "not.jpg" in str(broken)


@pytest.mark.parametrize("jitter", ["none", "hsv", "bcs"])
def test_batches_decoded_where_the_network_is_are_those_of_the_workers(files, jitter):
    data = dataset_settings(crop="area", jitter=jitter, pca=0.1, mean=[0.0] * 3, std=[1.0] * 3)
    augment, plan = Augment.from_settings(data, 72, KEY), StepPlan(6, 2, KEY, reads=2)
    last = Finish(data, 6, CPU, channels_last=True)
    loaders = [
        StreamLoader(
            split_of(files), Preparation(plan, augment, last), Reading(workers=0, on_error="fail", on_gpu=on_gpu)
        )
        for on_gpu in (False, True)
    ]
    for a, b in zip(*(loader.epoch(1) for loader in loaders), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)


def test_broken_files_are_skipped_where_the_network_is(tmp_path, files):
    (tmp_path / "not.jpg").write_text("no image")
    split = split_of([*files[:3], str(tmp_path / "not.jpg")])
    last = Finish(dataset_settings(), 5, CPU, channels_last=True)
    loader = StreamLoader(
        split, Preparation(StepPlan(4, 4), Augment(80, None), last), Reading(workers=0, on_error="skip", on_gpu=True)
    )
    (batch,) = loader.epoch(0)
    assert batch.targets.argmax(1).tolist() == [0, 1, 2]
    assert len(loader.skipped) == 1
    assert "not.jpg" in loader.skipped[0]


def test_the_way_of_decoding_is_in_a_runs_id():
    ids = [
        run_id(run_identity(Settings(data=dataset_settings(decode=how)), {}, "digest", 10))
        for how in ("full", "scaled", "gpu")
    ]
    assert len(set(ids)) == 3


def test_a_gpu_is_needed_to_decode_on_one():
    runtime = RuntimeSettings(device="cpu")
    with pytest.raises(UserError, match=r"data\.decode=gpu: the run is on cpu"):
        check(Settings(data=dataset_settings(decode="gpu"), runtime=runtime))
    masks = Settings(task=Segmentation(), data=dataset_settings(decode="gpu"), runtime=runtime)
    with pytest.raises(UserError, match=r"data\.decode=gpu: task=segmentation needs masks"):
        check(masks)
