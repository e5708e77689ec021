"""``import bagoftricks as bot``: what it loads, and what it has."""

import json
import subprocess
import sys

import pytest

import bagoftricks as bot

HEAVY = ("torch", "pandas", "hydra", "numpy", "rich", "scipy", "matplotlib", "omegaconf")
PROGRAM = f"""
import json, sys
import bagoftricks as bot
dir(bot), bot.errors.UserError, bot.plugins.load, bot.train
print(json.dumps(sorted(set({HEAVY}) & sys.modules.keys())))
"""


def test_the_import_and_the_names_load_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_every_public_name_is_there_has_help_and_is_listed():
    for name in bot.__all__:
        assert (getattr(bot, name).__doc__ or "").strip(), name
        assert name in dir(bot)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = bot.trian


def test_frames_are_of_the_store_and_study_is_a_function_before_and_after_its_package_is_imported(trained, here):
    assert list(bot.results(trained.store)["id"]) == [trained.id] * 2  # two weight sets
    assert set(bot.curves(trained.store)["weights"]) == {"last", "ema"}
    assert len(bot.corruptions(trained.store)) == 0
    with pytest.raises(bot.errors.UserError, match="nothing"):
        bot.study("nothing", store=trained.store)
    program = "import bagoftricks as bot\nfirst = bot.study\nimport bagoftricks.study.plan as plan\n"
    program += "assert first.__name__ == 'study' and bot.study.plan is plan\nbot.study('nothing', store='runs')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "UserError" in done.stderr.splitlines()[-1], done.stderr
