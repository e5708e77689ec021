import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.data.augment import Augment, Finish, send_together
from bagoftricks.data.decode import decode as decode_image
from bagoftricks.data.loaders import EvalBatches, TrainBatches, eval_loader, images_in_order, train_loader
from bagoftricks.data.memory import MemoryLoader, fits, keep_decoded
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import Dataset, FileSplit, MemorySplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.errors import DataError
from bagoftricks.recipe.edits import MapImages
from bagoftricks.rng import Key
from bagoftricks.settings import dataset_settings

KEY = Key(0)
PLAIN = dataset_settings(mean=[0.0] * 3, std=[1.0] * 3)


def finish(classes=20, data=PLAIN):
    return Finish(data, classes, torch.device("cpu"), channels_last=True)


def numbered(count, size=8):
    """Image i is filled with the value i and labelled i, so pixels tell which image they are of."""
    values = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)
    return MemorySplit(values.expand(-1, 3, size, size).contiguous(), np.arange(count))


def batches(loader, epoch=0):
    return list(loader.epoch(epoch))


def train(split, *, batch_size=4, key=KEY, reads=1, size=8, data=PLAIN, workers=0):
    return train_loader(
        split,
        data,
        finish(len(split.labels)),
        TrainBatches(size=size, batch_size=batch_size, reads=reads, key=key),
        Reading(workers=workers),
    )


def seen(loader, epoch=0):
    return torch.cat([batch.targets.argmax(1) for batch in batches(loader, epoch)]).tolist()


def test_an_epoch_reads_each_image_once_and_drops_the_incomplete_batch():
    order = seen(train(numbered(14)))
    assert len(order) == len(set(order)) == 12


def test_each_epoch_and_each_seed_has_its_own_order():
    loader = train(numbered(12))
    orders = [seen(loader, 0), seen(loader, 1), seen(train(numbered(12), key=Key(1)))]
    assert all(a != b for a, b in itertools.combinations(orders, 2))
    assert seen(loader, 0) == orders[0]


def test_images_and_targets_stay_together():
    for batch in batches(train(numbered(12), data=dataset_settings(mean=[0.0] * 3, std=[1.0] * 3, pad=0))):
        assert torch.equal(batch.images.amax((1, 2, 3)), batch.targets.argmax(1).float())


def test_reading_two_batches_keeps_the_first_one_and_adds_another_shuffle():
    one, two = batches(train(numbered(12))), batches(train(numbered(12), reads=2))
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.images, b.images[:4])
        assert len(b) == 8
    second = torch.cat([b.targets[4:].argmax(1) for b in two]).tolist()
    assert sorted(second) == list(range(12))
    assert second != seen(train(numbered(12)))


@pytest.mark.parametrize("jitter", ["none", "hsv", "bcs"])
def test_a_samples_augmentation_does_not_depend_on_its_batch(jitter):
    data = dataset_settings(jitter=jitter, pca=0.1)
    by_label = [
        {
            int(t.argmax()): image
            for b in batches(train(noisy(12), batch_size=size, data=data))
            for image, t in zip(b.images, b.targets, strict=True)
        }
        for size in (2, 6)
    ]
    assert all(torch.equal(by_label[0][label], by_label[1][label]) for label in range(12))


def noisy(count, size=8):
    images = torch.randint(0, 256, (count, 3, size, size), generator=KEY.generator(), dtype=torch.uint8)
    return MemorySplit(images, np.arange(count))


def darkened(images, draws):
    """A policy of two views: the image, and a darker one."""
    return torch.cat([images, (images * draws.view(-1, 1, 1, 1)).to(torch.uint8)])


POLICY = ("darkened", MapImages(apply=darkened, draws=1, views=2))


@pytest.mark.parametrize(
    ("data", "reads", "policy"),
    [
        (dataset_settings(crop="pad", pad=2, pca=0.1), 2, None),
        (dataset_settings(crop="pad", pad=2, jitter="hsv"), 1, None),
        (dataset_settings(crop="pad", pad=3, jitter="bcs", pca=0.1), 2, None),
        (dataset_settings(crop="none", flip=False), 1, None),
        (dataset_settings(crop="pad", pad=2, jitter="bcs", pca=0.1), 1, POLICY),
    ],
)
@pytest.mark.parametrize("channels_last", [True, False])
def test_the_two_loaders_give_the_same_batches(data, reads, policy, channels_last):
    split, last = noisy(12), Finish(data, 20, torch.device("cpu"), channels_last=channels_last)
    augment, plan = Augment.from_settings(data, 8, KEY, policy), StepPlan(12, 4, KEY, reads=reads)
    memory = MemoryLoader(split, Preparation(plan, augment, last), [])
    stream = StreamLoader(split, Preparation(plan, augment, last), Reading(workers=0, on_error="fail"))
    for a, b in zip(batches(memory, 3), batches(stream, 3), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
        assert a.views == (policy[1].views if policy else 1)


def test_copies_of_an_image_in_an_epoch_have_draws_of_their_own_and_the_first_one_those_of_the_plain_run():
    """Both loaders; image 0 comes in every other place of an epoch, image 11 never."""
    data, last = dataset_settings(crop="pad", pad=3, jitter="hsv", pca=0.1), finish(12)
    copies = np.array([6.0] + [0.6] * 10 + [0.0])
    augment, plan = Augment.from_settings(data, 8, KEY), StepPlan(12, 4, KEY, reads=2, copies=copies)
    made = Preparation(plan, augment, last)
    memory, stream = MemoryLoader(noisy(12), made, []), StreamLoader(noisy(12), made, Reading(workers=0))
    plain = batches(MemoryLoader(noisy(12), Preparation(StepPlan(12, 4, KEY), augment, last), []))
    (usual,) = [b.images[i] for b in plain for i in range(4) if b.targets[i].argmax() == 0]
    for a, b in zip(batches(memory), batches(stream), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
    first = [batch.images[i] for batch in batches(memory) for i in range(4) if batch.targets[i].argmax() == 0]
    assert len(first) == 6  # of the first pass of the two
    assert sum(torch.equal(image, usual) for image in first) == 1
    assert len(torch.stack(first).unique(dim=0)) == 6


def test_the_finish_subtracts_the_mean_and_divides_by_the_deviation_as_ieee_does():
    data, images = dataset_settings(), noisy(5, 9).images
    shift = torch.arange(15.0).view(5, 3) / 7
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (data.mean, data.std))
    batch = finish(data=data)(images, torch.arange(5), shift)
    assert torch.equal(batch.images, (images.float() - (mean - shift.view(5, 3, 1, 1))) / std)


def test_one_finish_serves_images_of_several_sizes():
    data = dataset_settings()
    made, (mean, std) = finish(data=data), (torch.tensor(v).view(1, 3, 1, 1) for v in (data.mean, data.std))
    for size in (8, 9, 8):
        images = noisy(4, size).images
        assert torch.equal(made(images, torch.arange(4)).images, (images.float() - mean) / std)


def test_jittered_small_images_are_prepared_a_batch_at_a_time():
    kinds = [type(train(noisy(12), data=dataset_settings(jitter=jitter))) for jitter in ("none", "hsv", "bcs")]
    assert kinds == [MemoryLoader] * 3
    assert isinstance(train(noisy(12), data=dataset_settings(crop="area")), StreamLoader)


def test_what_is_sent_together_arrives_as_it_was():
    sent = [torch.tensor([[2**52 + 1], [3]]), torch.tensor([[0.1, 1 - 2**-24], [2**-24, 0.0]]), torch.empty(2, 0)]
    for before, after in zip(sent, send_together(sent, torch.device("cpu")), strict=True):
        assert after.dtype is before.dtype
        assert torch.equal(after, before)


def test_images_that_do_not_fit_on_the_device_stay_on_the_host(monkeypatch):
    gpu, split = torch.device("cuda"), numbered(10)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * split.images.nbytes - 1, 0))
    assert not fits(split, gpu)
    assert fits(numbered(9), gpu)
    assert fits(split, torch.device("cpu"))
    split.placed[gpu, torch.channels_last] = split.images  # by an earlier run of the process
    assert fits(split, gpu)


def test_the_next_run_of_a_process_finds_the_images_on_the_device():
    split = noisy(12)
    first, second = train(split), train(split)
    assert first.pixels.is_contiguous(memory_format=torch.channels_last)
    assert second.pixels.data_ptr() == first.pixels.data_ptr() != split.images.data_ptr()
    contiguous = torch.contiguous_format
    assert torch.equal(split.on(torch.device("cpu"), contiguous), first.pixels)
    assert len(split.placed) == 1  # the last ones alone


def test_images_lie_on_the_device_but_for_a_policy_which_reads_its_draws_on_the_host():
    meta = Finish(PLAIN, 20, torch.device("meta"), channels_last=True)

    def place(policy=None, **params):
        augment = Augment.from_settings(PLAIN, 8, KEY, policy)
        return MemoryLoader(
            noisy(12), Preparation(StepPlan(12, 4, KEY), augment, meta), [], Reading(**params)
        ).place.type

    assert [place(), place(on_device=False), place(POLICY)] == ["meta", "cpu", "cpu"]


def test_the_resolved_settings_follow_the_image_size():
    small, large = (Augment.from_settings(dataset_settings(), size, KEY) for size in (32, 224))
    assert (small.crop, small.jitter, small.pca, small.pad) == ("pad", "none", 0.0, 4)
    assert (large.crop, large.jitter, large.pca, large.pad) == ("area", "hsv", 0.1, 0)


def test_the_mean_colour_normalises_to_zero():
    data = dataset_settings(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 4.0])
    images = torch.tensor([[11, 24, 34]], dtype=torch.uint8).view(1, 3, 1, 1)
    batch = finish(data=data)(images, torch.tensor([3]), None)
    assert batch.images.flatten().tolist() == [1.0, 2.0, 1.0]
    assert batch.targets.argmax(1).item() == 3
    assert batch.targets.sum().item() == 1


def test_colour_noise_is_added_before_the_normalisation():
    data = dataset_settings(mean=[0.0] * 3, std=[2.0] * 3)
    shift = torch.tensor([[2.0, -2.0, 4.0]])
    batch = finish(data=data)(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), torch.tensor([0]), shift)
    assert batch.images.flatten().tolist() == [1.0, -1.0, 2.0]


def test_all_views_of_an_image_get_its_colour_noise():
    shift = torch.tensor([[1.0] * 3, [2.0] * 3])
    batch = finish()(torch.zeros(4, 3, 1, 1, dtype=torch.uint8), torch.arange(2), shift)
    assert batch.images[:, 0, 0, 0].tolist() == [1.0, 2.0, 1.0, 2.0]


def test_evaluation_sees_every_image_once_in_order_and_unchanged():
    loader = eval_loader(numbered(10), PLAIN, finish(), EvalBatches(size=8, batch_size=4), Reading(workers=0))
    assert seen(loader) == list(range(10))
    assert [len(batch) for batch in batches(loader)] == [4, 4, 2]
    assert torch.equal(torch.cat([b.images for b in batches(loader)])[:, 0, 0, 0], torch.arange(10.0))


@pytest.fixture
def files(tmp_path):
    for i in range(12):
        Image.new("RGB", (70 + i, 90), (i * 20,) * 3).save(tmp_path / f"{i:02}.png")
    return FileSplit(np.array([str(p) for p in sorted(tmp_path.glob("*.png"))]), np.arange(12))


@pytest.mark.parametrize("size", [16, 72])  # kept in memory, streamed
def test_files_become_batches_of_the_asked_size(files, size):
    (batch,) = batches(train(files, batch_size=12, size=size, data=dataset_settings(jitter="none", pca=0.0)))
    assert batch.images.shape == (12, 3, size, size)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [16, 72])
def test_a_broken_file_fails_or_is_skipped_and_counted(files, size):
    with open(files.paths[3], "wb") as file:
        file.write(b"broken")
    with pytest.raises(DataError, match=r"03\.png"):
        batches(train(files, batch_size=4, size=size))
    loader = eval_loader(
        files, dataset_settings(on_error="skip"), finish(), EvalBatches(size=size, batch_size=5), Reading(workers=0)
    )
    assert seen(loader) == [i for i in range(12) if i != 3]
    seen(loader)
    assert len(loader.skipped) == 1
    assert "03.png" in loader.skipped[0]


def test_workers_change_nothing(files):
    data = dataset_settings(crop="area", jitter="bcs", pca=0.1)
    alone, together = (train(files, size=72, data=data, workers=workers) for workers in (0, 2))
    for epoch in (0, 1):
        for a, b in zip(batches(alone, epoch), batches(together, epoch), strict=True):
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.targets, b.targets)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_workers_call_has_been_called_here_before_they_are_forked(files, workers, monkeypatch):
    """A forked process could wait for ever for the lock of a function's first call."""
    here, square_of = [], Augment.square_of
    monkeypatch.setattr(Augment, "square_of", lambda *asked: here.append(asked[2]) or square_of(*asked))
    loader = train(files, size=72, workers=workers)
    assert here == ([0] if workers else [])
    batches(loader)
    assert (len(here) > 1) == (workers == 0)


def test_a_draw_just_below_one_stays_inside_the_padding():
    # The largest draws of a stream, rounded to fp32, must not become 1: this sample's is within 2^-25 of it.
    augment = Augment(32, Key(1), crop="pad", pad=4)
    draws = augment.draws(22, [(0, np.array([5369]))])
    assert draws.max() > 1 - 2**-23
    assert augment.batch(torch.ones(1, 3, 32, 32, dtype=torch.uint8), draws).shape == (1, 3, 32, 32)


@pytest.fixture
def decoded(monkeypatch):
    """How many images were decoded so far."""
    paths = []

    def decode(file):
        paths.append(file)
        return decode_image(file)

    monkeypatch.setattr("bagoftricks.data.sources.decode", decode)
    return paths


def kept(files, **changes):
    data = Dataset("imagefolder", ("a",), files, files.subset(np.arange(3)), "digest")
    return keep_decoded(replace(data, **changes))


def validate(data, size, *, settings=None, short_side=None):
    batches_of = EvalBatches(size=size, batch_size=8, short_side=short_side)
    loader = eval_loader(data.val, settings or dataset_settings(), finish(data=PLAIN), batches_of)
    return torch.cat([batch.images for batch in batches(loader)]), loader.skipped


def test_small_images_are_kept_decoded_for_the_next_run(files, decoded):
    data = kept(files)
    for _ in range(2):
        train(data.train, size=16)
        validate(data, 16)
        assert len(decoded) == 12 + 3
    assert data.digest == "digest"


def test_images_of_another_size_are_made_of_the_originals(files, decoded):
    data = kept(files)
    small, _ = validate(data, 8)
    large, _ = validate(data, 16)
    assert len(decoded) == 6
    assert torch.equal(large, validate(Dataset("x", ("a",), files, files.subset(np.arange(3)), "d"), 16)[0])
    assert torch.equal(small, validate(data, 8)[0])


def test_kept_images_in_memory_are_not_shrunk_for_a_larger_test_size():
    rows = torch.randint(0, 256, (3, 3, 16, 16), generator=KEY.generator(), dtype=torch.uint8)
    split = MemorySplit(rows, np.arange(3))
    data = keep_decoded(Dataset("x", ("a",), split, split, "digest"))
    train(data.train, size=8, batch_size=3)
    validate(data, 8)
    assert torch.equal(validate(data, 16)[0], rows.float())


def test_a_short_side_is_made_anew(files):
    data = kept(files)
    whole, _ = validate(data, 16)
    centre, _ = validate(data, 16, short_side=32)
    assert centre.shape == whole.shape
    assert torch.equal(centre, validate(data, 32)[0][:, :, 8:24, 8:24])


def test_kept_images_tell_each_run_what_is_broken(files):
    with open(files.paths[1], "wb") as file:
        file.write(b"broken")
    data = kept(files)
    for _ in range(2):
        images, skipped = validate(data, 16, settings=dataset_settings(on_error="skip"))
        assert len(images) == 2
        assert "01.png" in skipped[0]
    with pytest.raises(DataError, match=r"01\.png"):
        validate(data, 16)


@pytest.mark.parametrize("size", [8, 72], ids=["memory", "stream"])
def test_in_order_gives_each_readable_image_once_with_its_row(tmp_path, size):
    for i in range(7):
        Image.fromarray(np.full((size, size, 3), 30 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    split = FileSplit(np.array([str(tmp_path / f"{i}.png") for i in range(7)]), np.arange(7))

    def read(on_error):
        data = replace(PLAIN, on_error=on_error)
        return list(images_in_order(split, data, finish(data=data), size=size, batch_size=3, workers=0))

    with pytest.raises(DataError):
        read("fail")
    rows, images = zip(*read("skip"), strict=True)
    assert np.concatenate(rows).tolist() == [0, 1, 3, 4, 5, 6]
    assert torch.equal(torch.cat(images).amax((1, 2, 3)), torch.tensor([0.0, 30, 90, 120, 150, 180]))


def same(batch, other):
    return torch.equal(batch.images, other.images) and torch.equal(batch.targets, other.targets)


@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize("reads", [1, 2])
def test_an_epoch_that_is_entered_in_the_middle_goes_on_with_the_same_batches(reads, start):
    loader = train(numbered(13), batch_size=3, reads=reads)
    whole, rest = list(loader.numbered(5)), list(loader.numbered(5, start))
    assert [step for step, _ in rest] == [0, 1, 2, 3][start:]
    assert all(same(batch, other) for (_, batch), (_, other) in zip(whole[start:], rest, strict=True))
    assert all(same(batch, other) for (_, batch), other in zip(whole, loader.epoch(5), strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_files_of_steps_that_were_taken_before_are_not_read(files, workers):
    loader = train(files, size=80, workers=workers, data=replace(PLAIN, on_error="skip"))
    whole = list(loader.numbered(1))
    for (_, rows), *_ in list(loader.plan.steps(1))[:2]:
        for row in rows:
            open(files.paths[row], "wb").close()
    rest = list(loader.numbered(1, 2))
    assert loader.skipped == []
    assert [step for step, _ in rest] == [2]
    assert same(rest[0][1], whole[2][1])


def test_a_step_without_a_readable_image_keeps_its_number(files):
    loader = train(files, size=80, data=replace(PLAIN, on_error="skip"))
    ((_, rows),) = list(loader.plan.steps(0))[1]
    for row in rows:
        open(files.paths[row], "wb").close()
    assert [step for step, _ in loader.numbered(0)] == [0, 2]
