"""Text settings arrive letter for letter, whatever is typed, in every command."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bagoftricks.cli.app import launch
from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.eval import EvalArguments, parsed_overrides
from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.cli.table import TableArguments
from bagoftricks.cli.text import as_typed, is_text, quoted, setting_types, unescape
from bagoftricks.plugins import join_list, split_list
from bagoftricks.study.overrides import split_parameters
from bagoftricks.tricks.catalogue import cards

SPECIAL = "'\"\\${}[](),=:~+-/.?|@#*%& \t\n0_eé写😀\u202e\udce9"
TEXT = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters(exclude_characters="\0")), max_size=20)
ODD = ["", " ", "null", "true", "1e5", "2025_06", "a${seed}", "${oc.env:HOME}", "???", "'quoted'", "[x", "写真", "a,b"]
ANY = st.one_of(TEXT, st.sampled_from(ODD))
TEXT_SETTINGS = [key for key in setting_types() if is_text(key) and key not in ("plugins", "logger")]  # which are lists
HYPER_PARAMETERS = {f"tricks.{c.name}.{f.name}": c for c in cards() for f in c.fields if f.type is str}
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
few = settings(quick, max_examples=8)


@pytest.fixture
def composed(monkeypatch):
    """The plain values that Hydra composes, before their ranges are checked."""
    monkeypatch.setattr("bagoftricks.cli.schema.to_settings", plain)
    return compose_settings


def plain(config):
    return OmegaConf.to_container(config, resolve=True)


def value_at(values, key):
    for name in key.split("."):
        values = values[name]
    return values


def test_all_text_settings_are_known():
    assert {"store", "data.root", "model.weights", "corruptions.normalise_by", "format"} <= set(TEXT_SETTINGS)
    assert "tricks.distill.teacher" in HYPER_PARAMETERS
    assert len(TEXT_SETTINGS) + len(HYPER_PARAMETERS) > 30


@quick
@given(text=ANY)
def test_quotes_of_ours_are_undone_by_hydras_parser(text):
    parsed = OverridesParser.create().parse_override(f"store={quoted(text)}").value()
    assert unescape(parsed) == text
    assert as_typed(f"store={quoted(text)}") == f"store={text}"


@few
@given(texts=st.lists(ANY, min_size=40, max_size=40))
@example(texts=ODD * 3)
def test_a_composed_text_is_what_was_typed(composed, texts):
    typed = dict(zip([*TEXT_SETTINGS, *HYPER_PARAMETERS], texts * 2, strict=False))
    tricks = [f"+{card.family}={card.name}" for card in HYPER_PARAMETERS.values()]
    values = composed([*tricks, *(f"{key}={text}" for key, text in typed.items())])
    assert {key: value_at(values, key) for key in typed} == typed


def test_bot_train_takes_text_as_it_is_and_says_what_was_typed(tmp_path, monkeypatch):
    text, roots = "a${seed},'b'\\", ["写真 [x\n", "null"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bagoftricks.cli.schema.to_settings", plain)
    seen = []

    def job(values, command):
        seen.append((values["model"]["weights"], values["data"]["root"], shlex.split(command)))

    typed = [f"model.weights={text}", f"data.root={roots[0]}"]
    assert launch("bot-train", job, lambda: None, typed) == 0
    assert seen == [(text, roots[0], ["bot-train", *typed])]
    swept = ["-m", f"model.weights={join_list([text])[1:-1]}", f"data.root={join_list(roots)[1:-1]}"]
    assert launch("bot-train", job, lambda: None, swept) == 0
    assert seen[1:] == [(text, root, ["bot-train", typed[0], f"data.root={root}"]) for root in roots]


@quick
@given(text=ANY)
def test_the_other_commands_take_text_as_it_is(text):
    assert EvalArguments.of([f"weights={text}"]).weights == text
    assert unescape(parsed_overrides([f"data.root={text}"], (), ())["data.root"]) == text
    assert TableArguments.of([f"store={text}"]).store == text
    sweep = parse(["design=stack", f"name={text}", f"store={text}"])
    assert (sweep.name, sweep.overrides) == (text, (f"store={text}",))
    assert split_parameters([f"tricks.distill.teacher={text}"]) == ([], [("distill", "teacher", text)])


@quick
@given(texts=st.lists(ANY))
def test_a_list_of_texts_is_typed_and_read_back(texts):
    assert split_list(join_list(texts)) == texts


@pytest.mark.parametrize(
    ("typed", "texts"),
    [
        ("[a, b.py]", ["a", "b.py"]),
        ("a,b", ["a", "b"]),
        ("['a,b',c]", ["a,b", "c"]),
        ('["it\'s",]', ["it's"]),
        ("['it''s']", ["it's"]),
        ("['']", [""]),
        ("[]", []),
        ("", []),
    ],
)
def test_a_list_of_texts_may_have_quotes(typed, texts):
    assert split_list(typed) == texts
