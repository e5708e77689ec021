from dataclasses import replace

import pytest

from bagoftricks.cli.compose import compose_settings
from bagoftricks.report.labels import label, preset_of, short_label
from bagoftricks.store.record import TeacherFacts
from bagoftricks.tricks.catalogue import card

MINUS = "\N{MINUS SIGN}"


def resolved(name, **changed):
    """The hyper-parameters of a trick as a record has them."""
    return {field.name: field.default for field in card(name).fields} | changed


PAGE = {  # conf/preset/page.yaml
    **{name: resolved(name) for name in ("early_pool", "ghost_norm", "frozen_norm_scale", "patch_whitening")},
    **{name: resolved(name) for name in ("bias_scale", "warmup", "mixed_precision", "velocity_nag", "ema", "tta_flip")},
    "celu": resolved("celu", alpha=0.3),
    "label_smoothing": resolved("label_smoothing", epsilon=0.2),
    "linear_decay": resolved("linear_decay", final=0.1, hold="2 epochs"),
}


def shown(tricks, command="bot-train preset=page seed=1"):
    return short_label(tricks, command)


def test_a_preset_is_shown_with_what_was_changed_of_its_tricks():
    assert shown(PAGE) == "page"
    without = {name: values for name, values in PAGE.items() if name != "ema"}
    assert shown(without) == f"page {MINUS} ema"
    assert shown({**without, "mixup": resolved("mixup", alpha=0.4)}) == f"page + mixup(alpha=0.4) {MINUS} ema"
    assert shown({**PAGE, "celu": resolved("celu", alpha=0.5)}) == "page + celu(alpha=0.5)"
    assert shown({**PAGE, "celu": resolved("celu")}) == f"page + celu(alpha={card('celu').fields[0].default})"


def test_a_preset_has_the_tricks_of_the_one_that_it_builds_on_and_what_auto_became():
    tricks = compose_settings(["preset=fast_85"]).tricks
    full = {name: resolved(name, **params) for name, params in tricks.items()}
    full["mixed_precision"] = resolved("mixed_precision", dtype="bf16")
    assert shown(full, "bot-train preset=fast_85") == "fast_85"
    fp32 = {name: params for name, params in full.items() if name != "mixed_precision"}
    assert shown(fp32, "bot-train preset=fast_85") == f"fast_85 {MINUS} mixed_precision"
    frozen = {**full, "freeze": resolved("freeze", until="head")}
    assert shown(frozen, "bot-train preset=fast_85") == "fast_85 + freeze(until=head)"


@pytest.mark.parametrize("command", ["bot-train", "bot-train preset=lost", "bot-train preset=digits", "'"])
def test_without_a_preset_that_has_tricks_the_names_are_shown(command):
    assert shown(PAGE, command) == label(PAGE)
    assert shown({}, command) == "baseline"


def test_few_tricks_of_a_preset_with_many_are_shown_by_name():
    assert shown({"celu": resolved("celu")}) == "celu"


def test_the_preset_is_read_from_the_command():
    commands = ["bot-train preset=fast", "bot-train '+preset=fast' lr=1", "bot-train store=my_preset=x", ""]
    assert [preset_of(command) for command in commands] == ["fast", "fast", "", ""]


def test_a_teacher_that_is_a_run_has_its_id():
    tricks = {"distill": {"teacher": "weights:4d0f7e98"}}
    teacher = TeacherFacts("run:0389", "weights:4d0f7e98", "0389da168331ef984285")
    assert short_label(tricks, "bot-train", teacher) == "distill(teacher=run:0389da16)"
    assert short_label(tricks, "bot-train", replace(teacher, run=None)) == "distill(teacher=weights:4d0f7e98)"
