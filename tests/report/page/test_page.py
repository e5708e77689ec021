"""The page of a study: what it says, that nothing breaks out of it, and its size."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bagoftricks.report.page.elements import element
from bagoftricks.report.page.findings import ReportedStudy, findings, warnings
from bagoftricks.report.page.sections import run_anchor
from bagoftricks.report.page.whole_page import is_ours, load_report, whole_page
from bagoftricks.study.lock import read_lock
from tests.report.page.studies import make_study, page_of, run_id
from tests.store.test_store import record

VOID = {"meta", "link", "br", "input"}
ARMS = {"baseline": [70.0, 71.0, 72.0], "cosine": [75.0, 76.1, 77.2], "mixup": [69.0, 72.0, 71.0]}


class Outline(HTMLParser):
    """Tags, attributes and texts of a page; every element ends where it should."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def values(self, name):
        return [value for key, value in self.attributes if key == name]


@pytest.fixture
def store(tmp_path):
    return make_study(tmp_path, ARMS, title="Three arms")


def said(store, name="made"):
    (study,) = load_report(store, [name], "").studies
    return " ".join(findings(study)), " ".join(warnings(study))


def test_the_sentences_say_what_the_verdicts_say_and_no_more(store):
    found, warned = said(store)
    assert found.startswith("3 arms, 3 seeds on digits with resnet: all 9 runs finished. ")
    assert "Helps (2 tests together): cosine against baseline by +5.10 [+4.74, +5.46] top-1 points." in found
    assert "Undecided, which does not show that they do nothing (the study sees 5.3 top-1 points): mixup." in found
    assert "Hurts" not in found
    assert warned == ""


def test_a_study_without_a_result_concludes_nothing(tmp_path):
    store = make_study(tmp_path, {"a": [70.0, None], "b": [90.0, None], "c": [None, None]}, seeds=(0, 1))
    found, warned = said(store)
    assert "2 of 6 runs finished. Without any run: c." in found
    assert "Run with one shared seed, so that nothing is concluded: b." in found
    assert "Helps" not in found
    assert "One seed only for every arm, so no interval and no conclusion." in warned
    assert "Runs without a record: 4 not begun." in warned
    assert "No difference stands" in said(make_study(tmp_path, {"a": [1.0, 2.0], "b": [1.5, 1.0]}, seeds=(0, 1)))[0]


def test_what_is_wrong_with_runs_is_said_first(tmp_path):
    changes = {
        "a": {"environment": {"device": "A", "git_dirty": True}, "metrics": {"loss": None}},
        "b": {"environment": {"device": "B"}, "data": {"digest": "other", "skipped": ["x.jpg"]}},
    }
    store = make_study(tmp_path, {"a": [70.0, 70.0, None], "b": [71.0, 72.0, None]}, changes=changes)
    failed, damaged = run_id("made", "a", 2), run_id("made", "b", 2)
    store.mark_failed(failed, "loss is nan at step 3", "")
    (tmp_path / damaged).mkdir()
    (tmp_path / damaged / "record.json").write_text("{")
    _, warned = said(store)
    for text in (
        "Not with all seeds: a (2 of 3); b (2 of 3).",
        "Runs without a record: 1 failed, 1 unreadable.",
        "a, seed 2: failed (loss is nan at step 3).",
        "Diverged, with a loss that is not finite: a, seed 0; a, seed 1.",
        "Several devices, so that speeds and seconds do not compare: A; B.",
        "Several data sets (by their digests)",
        "2 runs with changes that no revision has.",
        "Up to 1 image could not be read",
        "record.json is not a record",
    ):
        assert text in warned


def test_published_numbers_of_another_scale_and_a_missing_evaluation_are_warnings(tmp_path):
    arms = [{"label": "a", "runs": {"0": run_id("made", "a", 0)}, "published": {"top1": 77.0}, "evaluation": "small_c"}]
    store = make_study(tmp_path, {"a": [70.0]}, seeds=(0,), scale="laptop", source="He et al.", arms=arms)
    _, warned = said(store)
    assert "ours of the scale laptop" in warned
    assert "Not evaluated yet on the corrupted images that the study asks for: a, seed 0." in warned
    assert "top-1 % 77 (He et al.)" in page_of(store, "made")


def test_every_number_leads_to_its_runs_and_every_run_to_its_arm(store):
    outline = Outline(page_of(store, "made"))
    ids = {value for name, value in outline.attributes if name == "id"}
    assert {value[1:] for value in outline.values("href") if value.startswith("#")} <= ids
    assert len(ids) == len(outline.values("id"))
    own = [run_id("made", "cosine", seed) for seed in range(3)]
    assert " ".join(own) in outline.values("data-runs")
    assert {f"#{run_anchor(run)}" for run in own} <= set(outline.values("href"))
    assert outline.values("href").count("#s1-arm1") == 1 + 3  # of the table, and of its runs


def test_a_run_of_two_studies_stands_once_on_their_page(store, tmp_path):
    make_study(tmp_path, {"baseline": ARMS["baseline"], "other": ARMS["mixup"]}, name="made2")
    shared = [{"label": "same", "runs": {"0": run_id("made", "baseline", 0)}}]
    make_study(tmp_path, {"x": [1.0]}, name="third", seeds=(0,), arms=shared)
    store.write_record(record(id="alone", tricks={"cosine": {}}))
    text = page_of(store)
    outline = Outline(text)
    assert outline.values("id").count(run_anchor(run_id("made", "baseline", 0))) == 1
    assert outline.values("href").count(f"#{run_anchor(run_id('made', 'baseline', 0))}") == 2
    assert run_anchor("alone") in outline.values("id")
    assert {"#s1", "#s2", "#s3", "#runs"} <= set(outline.values("href"))


def test_the_page_is_the_same_again_and_loads_nothing(store):
    text = page_of(store, "made")
    assert text == page_of(store, "made")
    outline = Outline(text)
    assert not {"src", "style", "onload", "onclick"} & {name for name, _ in outline.attributes}
    assert "http" not in re.sub(r"<style>.*?</style>|http-equiv", "", text, flags=re.DOTALL)
    (policy,) = [value for value in outline.values("content") if value.startswith("default-src 'none'")]
    assert "connect-src" not in policy
    assert is_ours(text.encode()[:4096])
    assert not is_ours(b"<!DOCTYPE html>\n<html><head><title>mine</title>")


def test_fifty_arms_of_three_seeds_fit_into_500_kib(tmp_path):
    arms = {f"+ tricks of a long name, number {n}": [70.0 + n / 9, 71.0 + n / 7, 70.5] for n in range(50)}
    assert len(page_of(make_study(tmp_path, arms), "made").encode()) < 500 * 1024


def test_neither_user_nor_host_is_on_the_page(tmp_path):
    environment = {"environment": {"user": "somebody", "host": "somewhere"}}
    text = page_of(make_study(tmp_path, {"a": [70.0]}, seeds=(0,), changes={"a": environment}))
    assert "somebody" not in text
    assert "somewhere" not in text


HOSTILE = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onfocus='alert(1)", "<!--"),
            *("]]>", "&lt;b&gt;", "</style>", "javascript:alert(1)", "\x00\x1b[2J\u202e", "</title>", "{{7*7}}"),
        ]
    ),
)


@pytest.fixture(scope="module")
def plain_tags(tmp_path_factory):
    return Outline(hostile_page(tmp_path_factory.mktemp("plain"), "t", "l", "c", "w")).tags


def hostile_page(root, title, label, command, why):
    changes = {label: {"command": command, "environment": {"device": why}, "model": {"name": why or "x"}}}
    store = make_study(root, {label: [70.0, None]}, seeds=(0, 1), changes=changes, title=title, notes=[why], source=why)
    store.mark_failed(run_id("made", label, 1), why, "")
    return page_of(store)


@settings(max_examples=12)
@given(title=HOSTILE, label=HOSTILE, command=HOSTILE, why=HOSTILE)
def test_no_text_of_a_record_breaks_out(tmp_path_factory, plain_tags, title, label, command, why):
    outline = Outline(hostile_page(tmp_path_factory.mktemp("hostile"), title or "t", label, command or "c", why))
    extra = {"tr", "th", "td", "div", "li"}
    assert [tag for tag in outline.tags if tag not in extra] == [tag for tag in plain_tags if tag not in extra]
    assert not [name for name, _ in outline.attributes if name.startswith("on") or name in ("src", "style", "srcdoc")]
    assert all(value.startswith("#") or value == "data:," for value in outline.values("href"))


def test_elements_escape_texts_and_attributes():
    made = element("a", "<b>", element("i", "&"), href='"x', class_="c", data_runs="r", hidden=True, title=None)
    assert made == '<a href="&quot;x" class="c" data-runs="r" hidden>&lt;b&gt;<i>&amp;</i></a>'


def test_a_page_carries_the_locks_of_its_studies(tmp_path):
    store = make_study(tmp_path, {"</script><b>": [70.0], "b": [71.0]}, seeds=(0,))
    text = page_of(store, "made")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    assert "b" not in Outline(text).tags
    lock = read_lock("from", str(tmp_path / "page.html"))
    assert lock.ids() == {label: {0: run_id("made", label, 0)} for label in ("</script><b>", "b")}
    both = page_of(make_study(tmp_path, {"x": [1.0]}, name="other", seeds=(0,)))
    (tmp_path / "page.html").write_text(both, encoding="utf-8")
    assert read_lock("from", str(tmp_path / "page.html"), "made") == lock
    assert read_lock("from", str(tmp_path / "page.html"), "other").ids() == {"x": {0: run_id("other", "x", 0)}}
    assert "from=report.html name=STUDY" in both


def test_a_live_page_may_ask_its_own_server_alone(store):
    outline = Outline(whole_page(load_report(store, ["made"], ""), live=True, pictures=False))
    assert [value for value in outline.values("content") if "connect-src 'self'" in value]


def factorial_store(root, tops):
    """A 2 x 2 study of cosine and ema: the mean of each arm over three seeds, with a little noise."""
    noise = (0.1, -0.1, 0.0)
    arms = {
        label: [top + seed + noise[(at + seed) % 3] for seed in range(3)]
        for at, (label, top) in enumerate(tops.items())
    }
    store = make_study(root, arms, design="factorial", factors=[["cosine"], ["ema"]])
    path = root / "studies/made.json"
    saved = json.loads(path.read_text())
    for one in saved["arms"]:
        one["on"] = [] if one["label"] == "baseline" else one["label"].split("+")
    path.write_text(json.dumps(saved))
    return store


def test_a_factorials_sentences_and_page_have_its_effects_first(tmp_path):
    store = factorial_store(tmp_path, {"baseline": 70.0, "cosine": 74.0, "ema": 70.0, "cosine+ema": 74.1})
    found, _ = said(store)
    assert "Helps (3 effects tested together): cosine by +4." in found
    assert "against baseline" not in found  # arms are plain means
    assert "No effect of a size that matters: ema (above 0." in found
    text = page_of(store, "made")
    assert text.index(">Effects<") < text.index('id="s1-results"')
    assert "better together" not in text


def test_an_undecided_effect_is_told_with_what_the_study_sees(tmp_path):
    store = factorial_store(tmp_path, {"baseline": 70.0, "cosine": 70.1, "ema": 70.0, "cosine+ema": 70.0})
    results = replace(load_report(store, ["made"], "").studies[0].results, chosen_resolve=0.01)
    found = " ".join(findings(ReportedStudy(results)))
    assert "No effect stands (3 effects tested together)." in found
    assert re.search(
        r"Undecided, which does not show that they do nothing \(the study sees 0\.\d+ top-1 points\): ", found
    )
