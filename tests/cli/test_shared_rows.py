"""Rows of two tables that are one run have one id, so that a store trains them once."""

from functools import cache

import pytest

from bagoftricks.cli.compose import compose_settings
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.study.experiment import load_experiment
from bagoftricks.study.overrides import arm_settings
from bagoftricks.tricks.catalogue import create


@cache
def id_of(row):
    table, _, name = row.partition(" ")
    experiment = load_experiment(f"assembled/{table}", "paper")
    (arm,) = [arm for arm in experiment.arms if name in (arm.label, arm.label.partition(":")[0])]
    settings = arm_settings(arm, experiment.overrides, compose_settings)
    tricks = {trick: create(trick, **params) for trick, params in settings.tricks.items()}
    return run_id(run_identity(settings, tricks, "digest of ImageNet", 1000))


@pytest.mark.parametrize(
    ("row", "other"),
    [
        ("table6 M3", "table8 P3"),
        ("table7 E11", "table9 P11"),
        ("table6 M4", "table10 P4"),
        ("table7 E8", "table10 P8"),
        ("table10 S8", "table11 SOP, Assemble-ResNet-IR-50"),
    ],
)
def test_a_row_is_the_same_run_in_both_tables(row, other):
    assert id_of(row) == id_of(other)


def test_other_rows_are_other_runs():
    assert id_of("table6 M3") != id_of("table6 M4")
