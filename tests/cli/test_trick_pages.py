"""The site's page of each trick is made from its card, its code and the committed results."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from bagoftricks.plugins import load_plugins
from bagoftricks.registry import forget_cards
from bagoftricks.report.study_parts import SavedArm
from bagoftricks.tricks import FAMILY_OF
from bagoftricks.tricks.catalogue import card
from docs.site.tricks.index import index_text
from docs.site.tricks.layers import changes_of, network_of
from docs.site.tricks.markdown import prose
from docs.site.tricks.measured import changes_between, findings_of, tables
from docs.site.tricks.network import changes_text, costs_of
from docs.site.tricks.page import facts, measured, page_text, places, together
from docs.site.tricks.pictures import KINDS, picture_of
from docs.site.tricks.scene import subject_of
from docs.site.tricks.updates import CURVATURE, START, STEPS, descent

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(FAMILY_OF)


def page(name):
    return page_text(card(name))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_the_summary_the_paper_and_the_defaults_of_the_class(name, monkeypatch):
    for slow in ("picture_of", "changes_text", "conflicts_of", "refused_networks"):
        monkeypatch.setattr(f"docs.site.tricks.page.{slow}", lambda name: {})
    text, known = page(name), card(name)
    assert text.startswith(f"# `{name}`\n\n{prose(known.summary)}")
    assert f"| paper | {prose(known.paper)} |" in text
    assert known.paper
    trick = known.load()()
    section = text.partition("## Hyper-parameters")[2].partition("\n## ")[0]
    rows = {cells(line)[0]: cells(line) for line in section.splitlines() if line.startswith(f"| `tricks.{name}.")}
    for field in known.fields:
        default = rows[f"`tricks.{name}.{field.name}`"][2].strip("`'")
        value = getattr(trick, field.name)
        assert default == {"True": "true", "False": "false", "None": "null", "": "none"}.get(f"{value}", f"{value}")
    assert len(rows) == len(known.fields)


def test_the_whole_docstring_is_on_the_page_with_its_settings_as_code():
    text = page("cutmix")
    assert "its mean at alpha = 1 is 0.68, not 0.5" in text
    assert "`switch` uses mixup instead" in text
    assert "`partner=batch`: one lambda for the batch" in page("mixup")


def test_conflicts_and_discouraged_pairs_stand_with_their_reasons():
    text = facts(card("mixup")) + "".join(together(card("mixup")))
    assert "| [`cutmix`](cutmix.md) | the mixing of a batch |" in text
    assert "takes alone | the mixing of a batch |" in text
    assert "| [`sk`](sk.md) | together they are less accurate" in "".join(together(card("se")))


def test_networks_and_tasks_that_refuse_a_trick_stand_with_their_reasons():
    assert "| resnet9 at 32 pixels | resnet9 builds no bottleneck 3x3 |" in "".join(places(card("sk")))
    assert "| `task=retrieval` | its loss takes logits" in "".join(places(card("bce")))


def test_committed_main_effects_are_those_of_the_tables():
    tables = {file: json.loads(file.read_text(encoding="utf-8")) for file in sorted(ROOT.glob("results/**/table.json"))}
    single = [(file, e) for file, table in tables.items() for e in table["effects"] if len(e["tricks"]) == 1]
    effects = [(file, e) for file, e in single if e["tricks"][0] in NAMES and e["estimate"] is not None]
    assert effects
    for file, effect in effects:
        (trick,) = effect["tricks"]
        known = [(f.estimate, f.low, f.high, f.verdict) for f in findings_of(trick)]
        assert tuple(effect.get(key) for key in ("estimate", "low", "high", "verdict")) in known, file


def test_committed_differences_stand_on_the_pages_of_the_tricks_that_changed():
    compared = [c for table in tables() for c in table.comparisons if c.difference is not None]
    found = {(f.estimate, f.verdict) for name in NAMES for f in findings_of(name)}
    assert compared
    assert any((c.difference, c.verdict) in found for c in compared)


def test_what_differs_between_two_arms_is_said_by_trick():
    tricks = {"mixup": {"alpha": 0.2}, "cosine": {}, "ema": {}}
    ours, theirs = SavedArm(label="a", tricks=tricks), SavedArm(label="b", tricks={**tricks, "mixup": {}, "sam": {}})
    del theirs.tricks["ema"]
    assert changes_between(ours, theirs) == {
        "mixup": "`mixup` with alpha=0.2 for defaults",
        "ema": "with `ema`",
        "sam": "without `sam`",
    }


def test_a_trick_without_a_study_says_so():
    assert list(measured("no_such_trick")) == ["Not measured here yet."]


def test_the_index_names_every_trick_once():
    text = index_text()
    assert all(text.count(f"[`{name}`]({name}.md)") == 1 for name in NAMES)


def test_every_trick_has_a_kind_of_picture():
    assert [name for name in NAMES if not any(subject_of(name).has(kind) for kind, _ in KINDS)] == []


DRAWN_IN_EVERY_RUN = ["cosine", "cutout", "label_smoothing", "micro_batch", "tta_flip", "zero_gamma"]
LONG = (pytest.mark.slow, pytest.mark.long)  # the site's test draws them all as well
OTHERS = [pytest.param(name, marks=LONG) for name in NAMES if name not in DRAWN_IN_EVERY_RUN]


@pytest.mark.parametrize("name", [*DRAWN_IN_EVERY_RUN, *OTHERS])
def test_a_picture_is_a_small_svg_with_words(name):
    picture = picture_of(name)
    root = ElementTree.fromstring(picture.svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(picture.svg) < 40_000
    assert name in picture.alt
    assert "nan" not in picture.alt.split()
    assert f"]({name}.svg)" in page(name)


@pytest.mark.parametrize("name", ["cutout", "cosine"])
def test_a_picture_is_the_same_when_drawn_again(name):
    assert picture_of.__wrapped__(name).svg == picture_of.__wrapped__(name).svg


def test_the_numbers_of_a_picture_are_those_of_the_trick():
    assert (
        "the right class has 0.91 instead of 1, each other one 0.01 instead of 0" in picture_of("label_smoothing").alt
    )
    assert "0.5 halfway" in picture_of("cosine").alt
    assert "0.125 at 32 images, 4 at 1024" in picture_of("linear_scaling").alt
    assert "as 2 parts of at most 64" in picture_of("micro_batch").alt


def test_the_flips_of_alternating_epochs_are_never_the_same():
    assert "in 0 % with alternating_flip" in picture_of("alternating_flip").alt


def test_the_descent_of_the_baseline_is_that_of_torch():
    ours, _ = descent({}, 0.03125)
    w = torch.nn.Parameter(torch.tensor(START))
    sgd = torch.optim.SGD([w], lr=0.03125, momentum=0.9, nesterov=True)
    for step in range(STEPS):
        sgd.param_groups[0]["lr"] = 0.03125 * (1 - step / STEPS)
        sgd.zero_grad()
        ((torch.tensor(CURVATURE) * w**2).sum() / 2).backward()
        sgd.step()
    assert torch.allclose(ours[-1], w.detach(), atol=1e-5)


def test_the_layers_of_a_network_are_compared_where_a_trick_changes_them():
    change = changes_of("resnet_b")[0]
    assert change.place == "stage 2, block 1"
    assert ("conv 1x1, stride 2: 128 x 28 x 28", True) in change.before
    assert ("conv 3x3, stride 2: 128 x 28 x 28", True) in change.after


def test_the_cost_of_gates_is_that_of_two_matrices_a_block():
    shown = network_of("se")
    gates = sum(n * 2 * c * c // 16 for n, c in ((3, 256), (4, 512), (6, 1024), (3, 2048)))
    assert costs_of("se", shown)[0] - costs_of("", shown)[0] == gates
    assert f"| parameters that are trained | {costs_of('', shown)[0]:,} |" in changes_text("se")


def test_a_trick_of_a_plug_in_has_a_page_and_a_picture(tmp_path, plugin):
    text = page_text(card("soft_targets"))
    assert "| `tricks.soft_targets.share` | float | `0.5` |" in text
    assert "| paper | mine |" in text
    assert "each other one 0.05 instead of 0" in picture_of.__wrapped__("soft_targets").alt


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "soft.py"
    file.write_text(PLUGIN, encoding="utf-8")
    load_plugins([str(file)])
    yield
    forget_cards()


PLUGIN = '''
from bagoftricks.plugins import MapTargets, trick


@trick(paper="mine", family="refine")
class SoftTargets:
    """Half of each target for all classes."""

    share: float = 0.5
    """share of all classes"""

    def edits(self, task):
        return [MapTargets(apply=lambda targets: (1 - self.share) * targets + self.share / targets.shape[1])]
'''
