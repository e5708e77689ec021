"""Classes matched by name: of initial weights, of evaluations, of files that leave the store."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bagoftricks.data import find_dataset
from bagoftricks.errors import UserError
from bagoftricks.rng import Key
from bagoftricks.run.classes import class_names_of, output_order
from bagoftricks.run.evaluation import evaluate, subject_of_file, subject_of_run
from bagoftricks.run.execute import execute
from bagoftricks.run.exporting import export
from bagoftricks.run.loading import class_notes
from bagoftricks.run.prepare import prepare
from bagoftricks.run.start import make_trainer
from bagoftricks.settings import Settings, network_settings
from bagoftricks.store.store import RECORD, Store
from tests.run.test_execute import Quiet

BACKWARDS = tuple("9876543210")


def chosen(store, **changes):
    made = Settings(model=network_settings(depths=[1], width=4), epochs=4, batch_size=64, store=str(store), **changes)
    made.data.image_size, made.data.pad, made.runtime.workers, made.runtime.device = 8, 1, 0, "cpu"
    return made


def renamed(data, names):
    """The same images, whose class ``i`` stands where ``names`` has its name."""
    return data.renumbered(names, [names.index(name) for name in data.classes])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Settings and record of a run on the digits."""
    made = chosen(tmp_path_factory.mktemp("classes") / "store")
    return made, execute(made, Quiet(), "")


def weights_of(trained):
    made, record = trained
    return str(Store(made.store).weights(record.id))


@given(st.permutations(list("abcdef")), st.integers(1, 6), st.integers(0, 2))
def test_an_output_is_found_by_its_name(theirs, count, spare):
    ours = list("abcdef")[:count]
    order = output_order(ours, theirs, len(theirs) + spare, what="", change="") or range(len(theirs) + spare)
    assert [theirs[output] for output in order[:count]] == ours
    assert sorted(order) == list(range(len(theirs) + spare))


def test_names_that_cannot_be_matched_are_refused():
    with pytest.raises(UserError, match=r"^it has no class 'kat' \(of its own: 'cat'\); did you mean 'cat'\?; do$"):
        output_order(["dog", "kat"], ["cat", "dog"], 2, what="it", change="do")
    with pytest.raises(UserError, match="two classes have one name"):
        output_order(["a", "a"], ["a", "b"], 2, what="it", change="")
    assert output_order(["caf\u00e9"], ["cafe\u0301"], 1, what="it", change="") is None
    assert output_order(["a"], (), 1, what="it", change="") is None


# --- evaluations ---


def test_a_run_is_evaluated_by_the_names_of_its_classes(trained):
    made, record = trained
    (expected,) = evaluate(subject_of_run(record, made, made, None), Quiet().note)
    backwards = renamed(find_dataset(made.data), BACKWARDS)
    assert (backwards.val.labels == 9 - find_dataset(made.data).val.labels).all()
    notes = []
    (found,) = evaluate(subject_of_run(record, made, made, None, backwards), notes.append)
    assert found.scores == expected.scores
    assert notes == [f"run {record.id} has the classes in another order: they are matched by name"]
    (of_file,) = evaluate(subject_of_file(replace(made, model=replace(made.model, weights=weights_of(trained)))), print)
    assert of_file.scores == expected.scores


def test_a_part_of_the_classes_is_evaluated_by_their_names(trained):
    made, record = trained
    digits = find_dataset(made.data)
    rows = np.flatnonzero(digits.val.labels >= 7)
    part = replace(
        digits, classes=("9", "8", "7"), val=replace(digits.val.subset(rows), labels=9 - digits.val.labels[rows])
    )
    part = replace(part, train=part.val)
    (found,) = evaluate(subject_of_run(record, made, made, None, part), Quiet().note)
    direct = replace(digits, val=digits.val.subset(rows))
    (expected,) = evaluate(subject_of_run(record, made, made, None, direct), Quiet().note)
    assert found.scores == expected.scores


def test_data_of_other_classes_is_refused(trained):
    made, record = trained
    other = replace(find_dataset(made.data), classes=("cat", *"123456789"))
    with pytest.raises(UserError, match=r"^run \w+ has no class 'cat' \(of its own: '0'\); rename the data's folders"):
        subject_of_run(record, made, made, None, other)


def test_an_exported_file_keeps_the_names(trained, tmp_path):
    made, record = trained
    subject = subject_of_run(record, made, made, None)
    path = tmp_path / "mine.safetensors"
    export(subject, "last", str(path), "ours")
    assert class_names_of(path) == record.data.class_names == tuple("0123456789")
    save_file(load_file(path), path, {"class_names": "[1"})
    with pytest.raises(UserError, match="its class names are damaged"):
        class_names_of(path)
    save_file(load_file(path), path)
    assert class_names_of(path) == ()


# --- initial weights ---


def test_initial_weights_of_another_order_are_matched_by_name(trained):
    made = replace(trained[0], seed=1)
    made.model = replace(made.model, weights=weights_of(trained))
    digits = find_dataset(made.data)
    same, turned = prepare(made, data=digits), prepare(made, data=renamed(digits, BACKWARDS))
    images = torch.randn(4, 3, 8, 8, generator=Key(0).generator())
    with torch.no_grad():
        logits, other = (make_trainer(prepared, 10).model.eval()(images) for prepared in (same, turned))
    torch.testing.assert_close(other, logits.flip(1))
    assert class_notes(same) == []
    assert class_notes(turned) == [
        f"model.weights={made.model.weights} has the classes in another order: they are matched by name"
    ]
    assert same.identity["model"]["weights"] != turned.identity["model"]["weights"]


def test_initial_weights_of_other_classes_are_refused_unless_the_head_is_new(trained):
    made = replace(trained[0])
    made.model = replace(made.model, weights=weights_of(trained))
    other = replace(find_dataset(made.data), classes=("cat", *"123456789"))
    with pytest.raises(UserError, match=r"has no class 'cat' .*; type model.new_head=true to initialise the head"):
        prepare(made, data=other)
    made.model.new_head = True
    assert class_notes(prepare(made, data=other)) == []


def test_initial_weights_without_class_names_are_noted(trained, tmp_path):
    made = replace(trained[0])
    path = tmp_path / "plain.safetensors"
    save_file(load_file(weights_of(trained)), path)
    made.model = replace(made.model, weights=str(path))
    (note,) = class_notes(prepare(made))
    assert note.startswith(f"model.weights={path} does not name its classes")


def test_a_record_has_the_names_and_the_counts_of_the_classes(trained):
    made, record = trained
    data = json.loads((Store(made.store).folder(record.id) / RECORD).read_text())["data"]
    assert data["class_names"] == list("0123456789")
    assert data["class_counts"] == np.bincount(find_dataset(made.data).train.labels).tolist()
