from itertools import pairwise

import numpy as np
import pytest
import torch

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data.finding import find_dataset
from bagoftricks.distributed import ALONE
from bagoftricks.errors import DataError, UserError
from bagoftricks.measure.accuracy import Measured
from bagoftricks.recipe.edits import Batch
from bagoftricks.run.carry_out import carry_out
from bagoftricks.run.check import check
from bagoftricks.run.prepare import prepare
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.store.record import read_record
from tests.tasks.scenes import OneOfTwo

LINE = ["preset=digits", "task=retrieval", "data.zero_shot=5", "task.embedding=16", "epochs=2", "model.width=4"]


def settings(tmp_path, *more, line=LINE):
    return compose_settings([*line, f"store={tmp_path}", "runtime.progress=false", "runtime.threads=1", *more])


def trained(tmp_path, *more):
    return carry_out(settings(tmp_path, *more), SilentReporter(), "bot-train")


def test_a_run_is_scored_by_recall_and_its_record_says_so(tmp_path):
    record = trained(tmp_path)
    last = record.metrics["last"]
    assert record.first == "recall_at_1"
    assert record.score() == last.others["recall_at_1"] == record.cost.curve[-1].score
    assert 40 < record.score() < 100  # a guess is right one time in five
    recalls = [last.others[f"recall_at_{k}"] for k in (1, 2, 4, 8, 10, 100)]
    assert all(a <= b for a, b in pairwise(recalls))
    assert last.top1 is None
    assert "recall_at_1000" not in last.others
    assert record.outputs == 5
    assert read_record(tmp_path / record.id / "record.json") == record


def test_the_task_is_part_of_the_identity_and_classification_is_not(tmp_path):
    plain = prepare(settings(tmp_path, line=["preset=digits"]))
    assert "task" not in plain.identity
    one, other = (prepare(settings(tmp_path, f"task.margin={margin}")) for margin in (0.0, 0.3))
    assert one.identity["task"] == {"name": "retrieval", "embedding": 16, "scale": 20.0, "margin": 0.0}
    assert one.id != other.id


def test_classes_are_unseen():
    data = find_dataset(compose_settings(LINE).data)
    assert set(data.train.labels) == set(range(5))
    assert set(data.val.labels) == set(range(5, 10))
    assert len(data.train.labels) + len(data.val.labels) == 1797  # both splits of the digits
    with pytest.raises(DataError, match="must leave two"):
        find_dataset(compose_settings(["preset=digits", "data.zero_shot=9"]).data)
    with pytest.raises(DataError, match="are trained on"):
        find_dataset(compose_settings(["preset=digits", "data.zero_shot=5", "data.holdout=0.1"]).data)


def test_data_of_another_task_are_refused_with_what_to_type(tmp_path):
    with pytest.raises(UserError, match=r"type data.zero_shot=5"):
        prepare(settings(tmp_path, line=["preset=digits", "task=retrieval"]))
    with pytest.raises(UserError, match="task=classification: needs one class"):
        prepare(settings(tmp_path, line=["preset=digits", "data.zero_shot=5"]))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (["+refine=distill", "tricks.distill.teacher=x"], "distill: makes no sense with task=retrieval"),
        (["+refine=mixup", "task.margin=0.3"], "mixup: makes no sense with task=retrieval"),
        (["corruptions=small_c"], "corruptions=small_c: its scores are of classes"),
    ],
)
def test_tricks_without_sense_are_refused_by_name(tmp_path, line, why):
    with pytest.raises(UserError, match=why):
        check(settings(tmp_path, *line))
    assert check(settings(tmp_path, "+refine=mixup"))


def test_classes_can_be_chosen_and_training_images_limited():
    chosen = find_dataset(compose_settings(["preset=digits", "data.only_classes=[7,2]", "data.train_limit=20"]).data)
    whole = find_dataset(compose_settings(["preset=digits"]).data)
    assert chosen.classes == ("7", "2")
    assert np.bincount(chosen.train.labels).tolist() == [10, 10]
    assert len(chosen.val.labels) == np.isin(whole.val.labels, [7, 2]).sum()
    sevens = whole.val.images[torch.from_numpy(whole.val.labels == 7)]
    assert torch.equal(chosen.val.images[torch.from_numpy(chosen.val.labels == 0)], sevens)
    with pytest.raises(UserError, match=r"data.only_classes=\[3,3\]: must be numbers from 0, each once"):
        compose_settings(["preset=digits", "data.only_classes=[3,3]"])
    with pytest.raises(DataError, match=r"data.only_classes=\[3,10\]: the data has 10 classes, from 0"):
        find_dataset(compose_settings(["preset=digits", "data.only_classes=[3,10]"]).data)


def test_ranks_measure_what_one_process_measures():
    task = compose_settings(LINE).task
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(12, 3, 2, 2, generator=generator), torch.arange(12) % 3

    def batches(rows):
        return [(at, Batch(images[at : at + 4], labels[at : at + 4])) for at in rows]

    def embed(images):
        return images.flatten(1)

    other = [(number, embed(batch.images), batch.targets) for number, batch in batches([4])]
    one, two = task.measure(embed, batches([0, 4, 8]), ALONE), task.measure(embed, batches([0, 8]), OneOfTwo(other))
    assert isinstance(one, Measured)
    assert one.scores == two.scores
    assert np.array_equal(one.correct, two.correct)


def test_limits_of_the_splits_are_apart():
    data = find_dataset(compose_settings([*LINE[:1], "data.limit=60", "data.train_limit=40", "data.val_limit=90"]).data)
    assert (len(data.train.labels), len(data.val.labels)) == (40, 60)
    assert len(find_dataset(compose_settings([*LINE[:1], "data.val_limit=90"]).data).val.labels) == 90
