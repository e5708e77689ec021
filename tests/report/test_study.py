import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.locking import lock_study
from bagoftricks.report.study import (
    against_note,
    alias_text,
    draw_study,
    shown_effect,
    shown_row,
    study_headings,
    tabulate_rows,
)
from bagoftricks.report.study_notes import study_notes
from bagoftricks.report.study_parts import SavedArm, SavedStudy, load_study
from bagoftricks.report.study_results import COLUMNS, StudyResults, load_results, value
from bagoftricks.report.study_robustness import measured_evaluations
from bagoftricks.store.store import Store
from bagoftricks.study.lock import lock_digest, lock_line, read_lock
from tests.report.page.studies import make_study, run_id
from tests.store.test_store import record, robustness


def scores(top1: float, **averages: float) -> dict:
    averaged = {name: {"top1": accuracy, "top5": 99.0, "loss": 0.5} for name, accuracy in averages.items()}
    return {"last": {"top1": top1, "top5": 98.0, "loss": 0.6}, **averaged}


def arm(label: str, compare_to: str | None = None, evaluation: str | None = None) -> SavedArm:
    return SavedArm(label=label, compare_to=compare_to, evaluation=evaluation)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [(scores(70.0), 70.0), (scores(70.0, ema=71.0), 71.0), (scores(70.0, ema=71.0, swa=72.0), 70.0)],
    ids=["no average", "one average", "two averages"],
)
def test_an_arm_is_scored_by_its_average_where_there_is_one(metrics, expected):
    assert value(record(metrics=metrics), "top1") == expected


def test_an_average_is_compared_with_the_weights_that_the_other_arm_is_scored_by():
    plain = {seed: record(metrics=scores(70.0 + seed), seed=seed) for seed in range(3)}
    averaged = {seed: record(metrics=scores(0.0, ema=71.0 + seed), seed=seed) for seed in range(3)}
    rows = study_of(arm("plain"), arm("ema", "plain"), plain=plain, ema=averaged).rows(["top1"])
    assert rows[1].comparison.difference == pytest.approx(1.0)


def test_a_number_that_only_some_rows_have_leaves_the_others_empty():
    rows = [{"label": "a", "top1": 70.0}, {"label": "b", "top1_published": 71.0}]
    assert tabulate_rows(rows, "csv") == "label,top1,top1_published\na,70.0,\nb,,71.0"


def robust(record_seed: int, error: float, **tricks: dict) -> dict:
    errors = {"fog": [error] * 5, "snow": [error + 2] * 5}
    result = robustness({"mce": error + 1, "clean_error": 5.0, "errors": errors})
    config = {"data": {}, "image_size": 8}
    return record(metrics=scores(70.0), seed=record_seed, tricks=tricks, config=config, robustness={"small_c": result})


def test_corruption_errors_have_their_mean_interval_and_paired_difference():
    few = {seed: robust(seed, 30.0 + seed, randaugment={}) for seed in range(3)}
    many = {seed: robust(seed, 40.0 + 1.1 * seed) for seed in range(3)}
    arms = [arm("plain", evaluation="small_c"), arm("aug", "plain", "small_c")]
    results = study_of(*arms, plain=many, aug=few)
    plain, aug = results.rows(["top1", "mce", "fog"])
    assert aug.values["mce"].mean == pytest.approx(32.0)
    assert aug.values["fog"].mean == pytest.approx(31.0)
    assert aug.values["mce"].low is not None
    assert aug.comparison_mce.difference == pytest.approx(-10.1)
    assert aug.comparison_mce.verdict == "helps"  # fewer errors
    assert (plain.overlaps, len(aug.overlaps)) == ([], 1)
    headed = study_headings(["top1", "mce"], COLUMNS, measured_evaluations(arms, {"plain": many, "aug": few}))
    assert [column.heading for column in headed] == ["top-1 %", "corruption error % (small_c)"]
    cells = shown_row(aug, headed, results)
    assert cells["corruption error % (small_c)"] == "32.00 ± 2.48†"
    assert cells["mCE difference [95 %]"].startswith("-10.10 [")


def timed(seed: int, name: str, speed: float, measured_by: str | None = None) -> dict:
    cost = {"infer_images_per_s": speed, "latency_ms": 1 / speed, "measured_by": measured_by}
    return record(id=f"{name}{seed}", metrics=scores(70.0 + seed), seed=seed, cost=cost)


def test_a_measurement_that_seeds_share_counts_once():
    plain = {0: timed(0, "a", 100.0), 1: timed(1, "a", 100.0, "a0"), 2: timed(2, "a", 100.0, "a0")}
    slow = {0: timed(0, "b", 50.0), 1: timed(1, "b", 52.0), 2: timed(2, "b", 50.0, "b0")}
    results = replace(study_of(arm("plain"), arm("slow", "plain"), plain=plain, slow=slow), chosen_score="latency_ms")
    one, two = results.rows(["top1", "infer_images_per_s"])
    assert (one.values["infer_images_per_s"].n, one.runs["infer_images_per_s"]) == (1, ("a0",))
    assert (two.values["infer_images_per_s"].n, two.values["infer_images_per_s"].mean) == (2, 51.0)
    assert one.values["top1"].n == 3
    assert results.differences("slow", "infer_images_per_s") == {0: -50.0}
    assert results.comparisons["slow"].verdict not in ("helps", "hurts")  # of one pair
    assert any("measured once for an arm" in note and "3 runs" in note for note in study_notes(results, [one, two]))


def test_a_measurement_of_a_run_outside_of_the_study_is_shown():
    seeds = {seed: timed(seed, "a", 100.0, "a9") for seed in range(3)}
    (row,) = study_of(arm("plain"), plain=seeds).rows(["top1", "infer_images_per_s"])
    assert (row.values["infer_images_per_s"].n, row.values["infer_images_per_s"].mean) == (1, 100.0)


def test_nothing_is_said_of_measurements_that_each_run_made():
    results = study_of(arm("plain"), plain={seed: timed(seed, "a", 100.0) for seed in range(3)})
    assert not any("measured once" in note for note in study_notes(results, results.rows(["infer_images_per_s"])))


def test_the_evaluation_that_an_arm_was_to_have_is_the_one_that_is_shown():
    both = robust(0, 30.0)
    both.robustness["small_c[limit=5]"] = robust(0, 50.0).robustness["small_c"]
    assert value(both, "mce", evaluation="small_c[limit=5]") == 51.0
    assert value(both, "mce", evaluation="small_c") == 31.0
    assert value(both, "mce") is None  # which one is not said


def test_an_average_is_what_robustness_is_scored_by_too():
    averaged = robust(0, 30.0)
    weights = averaged.robustness["small_c"].weights
    weights["ema"] = replace(weights["last"], mce=20.0)
    assert value(averaged, "mce") == 20.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a study"),
        ("[]", "is not a study"),
        ("{}", "is not a study"),
        ('{"name": "s", "command": "c", "seeds": ["a"], "arms": []}', r"seeds\[0\] must be a whole number"),
        ('{"name": "s", "command": "c", "seeds": [0], "arms": [{}]}', r"arms\[0\].label is missing"),
        ('{"name": "s", "command": "c", "seeds": [0], "arms": [{"label": "a", "runs": {"x": "y"}}]}', "is not a study"),
    ],
)
def test_a_damaged_study_is_refused_with_the_place_of_the_damage(tmp_path, text, message):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/s.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_study(Store(tmp_path), "s")


@pytest.mark.parametrize(
    ("against", "note"),
    [
        ({"b": "a", "c": "b"}, "differences are against the row above"),
        ({"b": "a", "c": "a"}, "differences are against a"),
        ({"c": "a"}, ""),
        ({}, ""),
    ],
)
def test_a_note_says_what_rows_are_compared_with_where_no_column_is_needed(against, note):
    rows = [
        SimpleNamespace(label=name, comparison=SimpleNamespace(against=against[name]) if name in against else None)
        for name in "abc"
    ]
    assert against_note(rows) == note


def study_of(*arms: SavedArm, **records: dict) -> StudyResults:
    study = SavedStudy(name="s", command="bot-sweep", seeds=(0, 1, 2), arms=arms, whole={}, title="A study", source="P")
    return StudyResults(study, records)


def two_arms() -> StudyResults:
    plain = {seed: record(id=f"p{seed}", metrics=scores(70.0 + seed), seed=seed) for seed in range(3)}
    cosine = {seed: record(id=f"c{seed}", metrics=scores(69.0 + 1.1 * seed), seed=seed) for seed in (1, 2)}
    return study_of(arm("plain"), arm("cosine", "plain"), plain=plain, cosine=cosine)


def test_every_cell_names_the_runs_that_it_is_made_of():
    results = two_arms()
    rows = json.loads(draw_study(results, "json"))["rows"]
    assert rows[0]["runs"]["top1"] == ["p0", "p1", "p2"]
    assert rows[1]["runs"]["comparison"] == ["c1", "c2", "p1", "p2"]  # the seeds that both have
    assert sorted(rows[1]["runs"]) == sorted([*rows[1]["values"], "comparison"])
    shown = draw_study(results, "html")
    assert '<td class="number" data-runs="p0 p1 p2">71.00 ± 2.48</td>' in shown
    assert '<td data-runs="c1 c2 p1 p2">hurts</td>' in shown


def test_latex_is_a_float_with_caption_label_and_the_columns_of_a_paper():
    shown = draw_study(two_arms(), "latex")
    assert shown.startswith("% A study\n% paper's numbers: P\n")
    assert r"\caption{A study. Mean ± half of the 95 \% t interval over n seeds." in shown
    assert r"\label{tab:s}" in shown
    assert "$-$0.85 {[}$-$1.49, $-$0.21{]} & hurts" in shown
    assert "95 % intervals hold together" in shown.replace(r"\%", "%")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_of_a_study_compiles(tmp_path):
    body = draw_study(two_arms(), "latex")
    text = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_a_table_carries_the_lock_of_its_study(tmp_path):
    (tmp_path / "table.json").write_text(draw_study(two_arms(), "json"))
    lock = read_lock("from", str(tmp_path / "table.json"))
    assert lock == lock_study(two_arms().study, two_arms().records)
    text = draw_study(two_arms(), "latex", caption="Two arms_ ({lock}).")
    assert f"\\caption{{Two arms\\_ ({lock_digest(lock)[:16]}).}}" in text
    assert f"% {lock_line(lock, command=False)}" in text.splitlines()
    assert f"% made by: {lock.command}" in text.splitlines()


def test_results_have_values_and_paired_differences_by_seed():
    results = two_arms()
    assert results.values("plain") == {0: 70.0, 1: 71.0, 2: 72.0}
    assert results.differences("cosine") == pytest.approx({1: -0.9, 2: -0.8})
    assert results.differences("plain") == {}


def test_latex_of_one_seed_says_that_nothing_follows():
    arms = {name: {0: record(id=name, metrics=scores(top1))} for name, top1 in (("plain", 70.0), ("cosine", 75.0))}
    shown = draw_study(study_of(arm("plain"), arm("cosine", "plain"), **arms), "latex")
    assert "One seed: no interval, no conclusion." in shown
    assert "t interval over 1" not in shown.partition(r"\begin{table}")[2]
    assert "verdicts" not in shown.partition(r"\begin{table}")[2]


def design(gains, *, kind="factorial", runs=((),), seeds=(0, 1), score="top1", noise=0.1, factors=None, **about):
    """Results of a factorial design: each arm the tricks that are on, each trick's gain added, and a little noise."""
    tricks = sorted({trick for on in runs for trick in on}) if factors is None else factors
    arms = [
        SavedArm(label=" + ".join(on) or "baseline", on=tuple(on), compare_to="baseline" if on else None) for on in runs
    ]
    records = {}
    for at, (own, on) in enumerate(zip(arms, runs, strict=True)):
        values = {s: 60 + s + sum(gains.get(t, 0) for t in on) + noise * ((at * 7 + s * 5) % 11 - 5) / 5 for s in seeds}
        records[own.label] = {
            seed: record(id=f"{at}-{seed}", metrics={score: found, "top1": found}, seed=seed)
            for seed, found in values.items()
        }
    study = SavedStudy(
        name="s", command="bot-sweep", seeds=tuple(seeds), arms=tuple(arms), whole={}, design=kind,
        factors=tuple((trick,) for trick in tricks), **about,
    )  # fmt: skip
    return StudyResults(study, records)


def subsets(*tricks):
    return [tuple(t for at, t in enumerate(tricks) if n >> at & 1) for n in range(2 ** len(tricks))]


def test_a_factorial_table_leads_with_effects_and_verdicts_and_its_arms_are_plain_means():
    results = design({"cosine": 4.0, "ema": -3.0}, runs=subsets("cosine", "ema", "sam"))
    assert results.comparisons == {}
    assert all(row.comparison is None for row in results.rows())
    text = draw_study(results, "text")
    effects, arms, *_ = text.split("\n\n")
    heading, _, cosine, ema, *_ = effects.splitlines()[1:]
    assert heading.split()[:3] == ["effect", "top-1", "points"]
    assert re.search(r"cosine +\+\d\.\d\d \[.*\] +helps +<0\.001", cosine)
    assert re.search(r"ema +-\d\.\d\d \[.*\] +hurts +<0\.001", ema)
    assert arms.splitlines()[0].split()[:3] == ["arm", "top-1", "%"]
    assert "difference" not in arms
    assert "effects tested together: their 95 % intervals all hold at once" in text
    assert "noise: between the seeds of an arm (7 degrees of freedom)" in text


def test_one_seed_of_many_arms_has_effects_with_the_noise_of_what_they_leave_or_of_lenth():
    runs = subsets("a", "b", "c", "d", "e")
    residuals = design({"a": 4.0}, runs=runs, seeds=(0,))
    assert (residuals.effects.noise, residuals.effects.dof) == ("residuals", 16)  # 32 runs - mean - 5 - 10
    assert "noise: what the effects leave of the runs (16 degrees of freedom)" in draw_study(residuals, "text")
    half = design({"a": 4.0}, kind="fractional", runs=[on for on in runs if len(on) % 2], seeds=(0,), noise=1.0)
    assert half.effects.noise == "Lenth"  # 16 runs, 15 effects: nothing is left
    assert half.effects.rows[0].verdict == "helps"
    assert "Lenth's pseudo standard error" in draw_study(half, "text")


def test_few_runs_of_one_seed_say_why_there_is_no_verdict():
    shown = draw_study(design({"a": 4.0}, runs=subsets("a", "b"), seeds=(0,)), "text")
    assert "nothing tells the noise of these effects: no interval, no conclusion" in shown
    assert "helps" not in shown


def plackett_burman():
    """Five tricks in the first columns of Plackett and Burman's twelve runs."""
    first = "++-+++---+-"
    rows = [first[-at:] + first[:-at] if at else first for at in range(11)] + ["-" * 11]
    return [tuple(trick for trick, sign in zip("abcde", row, strict=False) if sign == "+") for row in rows]


def test_plackett_burmans_effects_hold_only_if_there_are_no_interactions():
    results = design({"a": 4.0}, kind="fractional", runs=plackett_burman())
    assert [(effect.tricks, effect.aliased_with) for effect in results.effects.rows] == [((t,), ()) for t in "abcde"]
    assert results.effects.rows[0].verdict == "helps"
    assert "they are these effects only if there are no interactions" in draw_study(results, "text")
    assert "no interactions" not in draw_study(design({}, runs=subsets("a", "b")), "text")


def test_aliases_have_their_signs():
    """Half of 2^3 with a b c = -1: each trick stands for minus the product of the others."""
    results = design({"a": 4.0}, kind="fractional", runs=[on for on in subsets("a", "b", "c") if len(on) % 2 == 0])
    shown = [shown_effect(effect, results) for effect in results.effects.rows]
    assert [(cells["effect"], cells["aliased with"]) for cells in shown] == [
        ("a", "-b x c"),
        ("b", "-a x c"),
        ("c", "-a x b"),
    ]
    odd = design({}, kind="fractional", runs=[on for on in subsets("a", "b", "c") if len(on) % 2])
    assert alias_text(odd.effects.rows[0]) == "b x c"


def compared(key, plain, other, **about):
    records = {
        label: {s: record(id=f"{label}{s}", metrics={"top1": 70.0 + s, key: v}, seed=s) for s, v in enumerate(values)}
        for label, values in (("plain", plain), ("other", other))
    }
    return replace(study_of(arm("plain"), arm("other", "plain"), **records), chosen_score=key, **about)


def test_a_chosen_score_has_its_column_beside_top1_and_is_what_arms_are_compared_in():
    results = compared("soft_top1", [70.0, 71.0, 72.0], [72.0, 73.1, 74.2])
    assert results.columns()[:2] == ("top1", "soft_top1")
    assert results.rows()[1].comparison.difference == pytest.approx(2.1)  # of top-1, it is 0
    shown = draw_study(results, "text")
    assert shown.splitlines()[1].split("  ")[0] == "arm"
    assert re.search(r"top-1 % +soft top-1 difference \[95 %\] +verdict +p \(adjusted\) +soft top-1 %", shown)
    assert "differences in soft top-1 points, paired by seed" in shown


def test_a_lower_loss_is_better():
    down = compared("loss", [1.0, 1.1, 1.2], [0.8, 0.91, 1.0]).rows()[1].comparison
    assert (down.difference, down.verdict) == (pytest.approx(-0.59 / 3), "helps")
    assert compared("loss", [0.8, 0.91, 1.0], [1.0, 1.1, 1.2]).rows()[1].comparison.verdict == "hurts"


def test_an_unknown_score_is_refused_with_the_near_one(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/s.json").write_text('{"name": "s", "command": "c", "seeds": [0], "arms": []}')
    with pytest.raises(UserError, match=r"^score=soft_top: runs are not compared in that; did you mean 'soft_top1'"):
        load_results(Store(tmp_path), "s", score="soft_top")


def test_what_matters_decides_between_undecided_and_no_effect():
    values = [70.0, 71.0, 72.0], [70.1, 71.0, 72.1]
    narrow, wide = (compared("top1", *values, chosen_resolve=r).rows()[1].comparison.verdict for r in (0.01, 5.0))
    assert narrow.startswith("undecided: sees 0.")
    assert re.fullmatch(r"no effect above 0\.\d+ points either way", wide)


def test_a_seed_that_diverged_is_counted_and_named(tmp_path):
    tops = {"baseline": [70.0, 71.0, 72.0, 70.5, 71.5], "big": [72.0, 73.0, None, 72.6, 73.4], "lost": [None] * 5}
    store = make_study(tmp_path, tops, seeds=range(5))
    why = "the training loss is nan at step 3 of 40 (epoch 1): type a lower lr="
    store.mark_failed(run_id("made", "big", 2), why, "")
    for seed in range(5):
        store.mark_failed(run_id("made", "lost", seed), why if seed else "killed", "")
    results = load_results(store, "made")
    rows = {row.label: row for row in results.rows()}
    assert [row.absent for row in rows.values()] == ["", "4 of 5 seeds, 1 diverged", ""]
    assert rows["lost"].missing == "4 diverged, 1 failed"
    text = draw_study(results, "text")
    assert "4 of 5 seeds, 1 diverged" in text
    assert "means are of the runs that finished: where runs diverged or failed, they are a selection" in text
    assert "not finished" not in text  # what failed is not to come
    lines = {line["label"]: line for line in csv.DictReader(io.StringIO(draw_study(results, "csv")))}
    assert lines["big"]["absent"] == "4 of 5 seeds, 1 diverged"
    assert lines["baseline"]["absent"] == ""


def test_a_table_of_a_study_half_done_says_so(tmp_path):
    arms = {"baseline": [70.0, 71.0, 72.0], "a": [73.0, 74.0, 75.5], "b": [70.0, 71.5, None], "a + b": [None] * 3}
    store = make_study(tmp_path, arms, design="factorial", factors=[["a"], ["b"]])
    path = tmp_path / "studies" / "made.json"
    study = json.loads(path.read_text(encoding="utf-8"))
    for arm in study["arms"]:
        arm["on"] = [] if arm["label"] == "baseline" else arm["label"].split(" + ")
    path.write_text(json.dumps(study), encoding="utf-8")
    text = draw_study(load_results(store, "made"), "text")
    assert "not finished: 8 of 12 runs are there, and all numbers and verdicts are of these; the command below" in text
    assert "they are these effects only if there are no interactions, which the runs so far cannot tell apart" in text
    assert "diverged" not in text
    for seed in range(3):
        store.mark_failed(run_id("made", "a + b", seed), "the training loss is nan at step 3", "")
    text = draw_study(load_results(store, "made"), "text")
    assert "not finished: 8 of 9 runs are there" in text
    assert (
        "means and effects are of the runs that finished: where runs diverged or failed, they are a selection" in text
    )


def test_a_score_that_no_run_has_is_named_with_what_measures_it(tmp_path):
    store = make_study(tmp_path, {"baseline": [70.0, 71.0], "a": [73.0, 74.0]}, seeds=(0, 1))
    shown = draw_study(load_results(store, "made", score="mce"), "text")
    assert "nothing is compared: mCE (score=mce); bot-eval run=ID corruptions=NAME measures it" in shown
    assert "nothing is compared" not in draw_study(load_results(store, "made"), "text")


def test_an_extended_fraction_shares_the_error_with_the_looks_before():
    results = two_arms()
    assert results.alpha == 0.05
    extended = replace(results, study=replace(results.study, extensions=1, judged=3, looks=(3,)))
    assert extended.alpha == 0.025
    (note,) = [note for note in study_notes(extended) if note.startswith("looks:")]
    assert "judged 1 time before it was extended: a verdict needs p <= 0.025 in place of 0.05" in note


def test_a_study_s_resolve_holds_for_scores_in_its_unit():
    results = replace(two_arms(), study=replace(two_arms().study, resolve=2.0))
    soft, loss = (replace(results, chosen_score=key) for key in ("soft_top1", "loss"))
    assert (results.resolve, soft.resolve, loss.resolve) == (2.0, 2.0, 0.01)


def test_a_run_whose_score_is_no_number_has_no_part_in_effects():
    arms = tuple(arm(name) for name in ("baseline", "a"))
    records = {
        name: {seed: record(id=f"{name}{seed}", seed=seed, metrics=scores(70.0 + seed)) for seed in range(3)}
        for name in ("baseline", "a")
    }
    records["a"][2] = record(id="nan", seed=2, metrics=scores(float("nan")))
    factors = replace(arms[1], on=("a",))
    study = SavedStudy(
        name="s", command="c", seeds=(0, 1, 2), arms=(arms[0], factors), whole={}, design="factorial", factors=(("a",),)
    )
    results = StudyResults(study, records)
    assert len(results.factor_runs()) == 5
    assert [effect.tricks for effect in results.effects.rows] == [("a",)]
