import subprocess
import sys
from itertools import combinations, pairwise
from math import comb, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import UserError
from bagoftricks.study.designs import (
    DESIGNS,
    GreedyStep,
    Size,
    alias_structure,
    factor_levels,
    greedy_first,
    greedy_next,
    make_arms,
    parse_trick,
)
from bagoftricks.tricks import FAMILY_OF

ABC = ["mixup", "cosine", "warmup"]
MANY = sorted(FAMILY_OF)
BASE = {"mixed_precision": {"dtype": "fp16"}}
FREE = [name for name in MANY if name not in BASE]
lists = st.lists(st.sampled_from(FREE), min_size=1, max_size=6, unique=True)


def rows(design, tricks=ABC, **options):
    """(label, names of the tricks, what it is compared to) of each arm."""
    return [(a.label, set(a.tricks), a.compare_to) for a in make_arms(design, tricks, size=Size(**options))]


def levels(arms, tricks):
    """The design matrix by columns, +1 where the trick is on."""
    return [[1 if trick in arm.tricks else -1 for arm in arms] for trick in tricks]


def constant_products(columns, size):
    """The sets of columns, of this size, whose product is not balanced: the words of the defining relation."""
    sets = combinations(range(len(columns)), size)
    return [c for c in sets if sum(map(prod, zip(*(columns[i] for i in c), strict=True)))]


# Every design by hand


def test_stack_adds_one_step_per_row():
    assert rows("stack") == [
        ("baseline", set(), None),
        ("+ mixup", {"mixup"}, "baseline"),
        ("+ cosine", {"mixup", "cosine"}, "+ mixup"),
        ("+ warmup", {"mixup", "cosine", "warmup"}, "+ cosine"),
    ]


def test_a_step_of_a_stack_may_add_several_tricks():
    assert rows("stack", ["mixup", "zero_gamma+no_bias_decay"])[2] == (
        "+ zero_gamma + no_bias_decay",
        {"mixup", "zero_gamma", "no_bias_decay"},
        "+ mixup",
    )


def test_one_at_a_time():
    expected = [("baseline", set(), None), *((name, {name}, "baseline") for name in ABC)]
    assert rows("one_at_a_time") == expected


def test_leave_one_out():
    assert rows("leave_one_out") == [
        ("all", {"mixup", "cosine", "warmup"}, None),
        ("without mixup", {"cosine", "warmup"}, "all"),
        ("without cosine", {"mixup", "warmup"}, "all"),
        ("without warmup", {"mixup", "cosine"}, "all"),
    ]


def test_factorial():
    assert rows("factorial") == [
        ("baseline", set(), None),
        ("mixup", {"mixup"}, "baseline"),
        ("cosine", {"cosine"}, "baseline"),
        ("warmup", {"warmup"}, "baseline"),
        ("mixup + cosine", {"mixup", "cosine"}, "baseline"),
        ("mixup + warmup", {"mixup", "warmup"}, "baseline"),
        ("cosine + warmup", {"cosine", "warmup"}, "baseline"),
        ("mixup + cosine + warmup", {"mixup", "cosine", "warmup"}, "baseline"),
    ]


def test_half_fraction_of_three_tricks_holds_the_baseline_and_the_pairs():
    """C = -AB with no trick on in the first run: the principal half, I = -ABC."""
    assert sorted(rows("fractional", runs=4)) == [
        ("baseline", set(), None),
        ("cosine + warmup", {"cosine", "warmup"}, "baseline"),
        ("mixup + cosine", {"mixup", "cosine"}, "baseline"),
        ("mixup + warmup", {"mixup", "warmup"}, "baseline"),
    ]


def test_arms_are_as_listed():
    assert rows("arms", ["cosine+mixup", "baseline", "warmup"]) == [
        ("cosine + mixup", {"cosine", "mixup"}, "baseline"),
        ("baseline", set(), None),
        ("warmup", {"warmup"}, "baseline"),
    ]
    assert [compare for *_, compare in rows("arms", ["mixup", "cosine"])] == [None, None]


def test_greedy_lists_the_baseline_and_the_first_batch():
    assert make_arms("greedy", ABC) == make_arms("one_at_a_time", ABC)
    assert greedy_first(ABC) == GreedyStep((), make_arms("greedy", ABC)[1:])


def test_text_with_commas_is_typed_in_quotes():
    assert parse_trick("distill('teacher=file:a,b.pth',hard_weight=0)")[1] == {
        "teacher": "file:a,b.pth",
        "hard_weight": 0.0,
    }


def test_hyper_parameters_are_kept_and_shown():
    _, arm, other = make_arms("one_at_a_time", ["mixup(alpha=0.5,partner=second_batch)", "mixup"])
    assert arm.label == "mixup(alpha=0.5, partner=second_batch)"
    assert arm.tricks == {"mixup": {"alpha": 0.5, "partner": "second_batch"}}
    assert (other.label, other.tricks) == ("mixup", {"mixup": {}})


# Counts and properties


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_a_factorial_has_two_to_the_n_arms(n):
    assert len(make_arms("factorial", MANY[:n])) == 2**n


@pytest.mark.parametrize("k", [1, 2, 3, 11, 12])
def test_a_factorial_of_up_to_k_tricks_is_a_sum_of_binomials(k):
    some = MANY[:11]
    arms = make_arms("factorial", some, size=Size(max_tricks=k, max_arms=4096))
    assert len(arms) == sum(comb(11, size) for size in range(min(k, 11) + 1))
    assert max(len(arm.tricks) for arm in arms) == min(k, 11)


@given(lists, st.sampled_from(list(DESIGNS)))
def test_arms_differ_hold_the_base_and_use_every_trick(tricks, design):
    arms = make_arms(design, tricks, base=BASE)
    assert len({arm.label for arm in arms}) == len({frozenset(arm.tricks) for arm in arms}) == len(arms)
    assert all(arm.tricks["mixed_precision"] == {"dtype": "fp16"} for arm in arms)
    assert {name for arm in arms for name in arm.tricks} == {*tricks, *BASE}
    assert all(arm.compare_to in {None, *(other.label for other in arms)} for arm in arms)


@given(lists)
def test_a_stack_is_nested_and_leave_one_out_leaves_one_out(tricks):
    stack = [set(arm.tricks) for arm in make_arms("stack", tricks)]
    assert [len(names) for names in stack] == list(range(len(tricks) + 1))
    assert all(small < large for small, large in pairwise(stack))
    assert [len(arm.tricks) for arm in make_arms("leave_one_out", tricks)[1:]] == [len(tricks) - 1] * len(tricks)


@given(st.integers(3, 11), st.data())
def test_a_fraction_has_the_resolution_asked_for(n, data):
    """No product of fewer columns than the resolution is constant; of one or two: balanced and orthogonal columns."""
    resolution = data.draw(st.integers(3, min(n, 5)))
    arms = make_arms("fractional", MANY[:n], size=Size(resolution=resolution))
    columns = levels(arms, MANY[:n])
    assert not any(constant_products(columns, size) for size in range(1, resolution))
    assert arms[0].label == "baseline"


@pytest.mark.parametrize(
    ("resolution", "size_of"),
    [
        (3, {3: 4, 4: 8, 7: 8, 8: 16, 11: 16}),
        (4, {4: 8, 5: 16, 8: 16, 9: 32, 11: 32}),
        (5, {5: 16, 6: 32, 7: 64, 8: 64, 9: 128, 11: 128}),
    ],
)
def test_fractions_are_the_smallest_of_the_tables(resolution, size_of):
    """The sizes that textbooks tabulate for each number of factors and resolution."""
    found = {n: len(make_arms("fractional", MANY[:n], size=Size(resolution=resolution))) for n in size_of}
    assert found == size_of


@pytest.mark.parametrize(("n", "runs"), [(1, 2), (2, 4), (3, 8), (4, 8), (5, 16), (8, 16), (11, 32)])
def test_the_default_is_the_smallest_of_resolution_four_or_the_full_factorial(n, runs):
    assert len(make_arms("fractional", MANY[:n])) == runs


@pytest.mark.parametrize(("n", "runs", "resolution"), [(5, 16, 5), (6, 32, 6), (6, 16, 4), (7, 64, 7), (7, 8, 3)])
def test_a_number_of_runs_gets_the_best_resolution_it_can_have(n, runs, resolution):
    columns = levels(make_arms("fractional", MANY[:n], size=Size(runs=runs)), MANY[:n])
    assert len(columns[0]) == runs
    assert min(size for size in range(1, n + 1) if constant_products(columns, size)) == resolution


@pytest.mark.parametrize(("n", "runs"), [(5, 12), *((n, 12) for n in range(7, 12)), (11, 20), (11, 24)])
def test_plackett_burman_columns_are_balanced_and_orthogonal(n, runs):
    arms = make_arms("fractional", MANY[:n], size=Size(runs=runs))
    columns = levels(arms, MANY[:n])
    assert len({frozenset(arm.tricks) for arm in arms}) == runs
    assert not constant_products(columns, 1)
    assert not constant_products(columns, 2)
    assert arms[0].label == "baseline"


def test_pydoe3_still_gives_less_than_the_resolution_it_is_asked_for():
    """Why the generators are our own; when this fails, they may be pyDOE3's."""
    from pyDOE3 import fracfact_by_res

    assert constant_products(fracfact_by_res(7, 5).T.tolist(), 4)


# Aliases


def test_aliases_of_the_half_fraction_of_three():
    """I = -ABC: A = -BC, B = -AC, C = -AB."""
    assert alias_structure(make_arms("fractional", ABC, size=Size(runs=4)), ABC) == "\n".join(
        [
            "resolution III: main effects are aliased with two-way interactions",
            "mixup = -cosine x warmup",
            "cosine = -mixup x warmup",
            "warmup = -mixup x cosine",
        ]
    )


def test_aliases_of_the_half_fraction_of_four():
    """I = ABCD: AB = CD, AC = BD, AD = BC; the base changes nothing."""
    tricks = [*ABC, "zero_gamma"]
    assert alias_structure(make_arms("fractional", tricks, base=BASE, size=Size(runs=8)), tricks).splitlines()[1:] == [
        "mixup x cosine = warmup x zero_gamma",
        "mixup x warmup = cosine x zero_gamma",
        "mixup x zero_gamma = cosine x warmup",
    ]


def test_aliases_are_read_off_the_arms_that_are_given():
    """The other half, I = +ABC: each trick alone, and all three."""
    arms = make_arms("arms", [*ABC, "+".join(ABC)])
    assert "mixup = cosine x warmup" in alias_structure(arms, ABC)


def test_nothing_is_aliased_in_a_full_factorial_or_at_resolution_five():
    assert alias_structure(make_arms("factorial", ABC), ABC) == ""
    assert alias_structure(make_arms("fractional", MANY[:5], size=Size(runs=16)), MANY[:5]) == ""


def test_plackett_burman_aliases_are_partial():
    """In 12 runs each main effect has correlation 1/3 with each interaction of two others: 45 of 55 for 11 factors."""
    text = alias_structure(make_arms("fractional", MANY[:11], size=Size(runs=12)), MANY[:11])
    assert text.splitlines() == [
        "resolution III: main effects are aliased with two-way interactions",
        "each main effect is partly aliased with 45 of 55 two-way interactions (correlation up to 0.33)",
    ]


def test_an_unbalanced_design_is_called_so():
    assert alias_structure(make_arms("one_at_a_time", ABC), ABC).startswith("resolution I: a trick is not on in half")


# Greedy

GAIN = {"mixup": 0.3, "cosine": 0.5, "warmup": 0.1, "zero_gamma": -0.2}


def play(tricks=tuple(GAIN), speed=None, floor=None, gain=GAIN, **base):
    """Run an additive game to its end: the gain of a trick does not depend on the others, nor does its cost."""
    step, steps = greedy_first(tricks, **base), []
    while step is not None:
        steps.append(step)
        added = {arm.label: arm.label.split(" + ")[-1] for arm in step.candidates}
        throughput = speed and {label: 100 - sum(speed[t] for t in label.split(" + ")) for label in added}
        step = greedy_next(step, tricks, {label: gain[t] for label, t in added.items()}, throughput, floor)
    return steps


def test_greedy_finds_the_order_of_an_additive_game():
    steps = play()
    assert [step.chosen for step in steps] == [
        (),
        ("cosine",),
        ("cosine", "mixup"),
        ("cosine", "mixup", "warmup"),
    ]
    assert [(a.label, a.compare_to) for a in steps[1].candidates] == [
        ("cosine + mixup", "cosine"),
        ("cosine + warmup", "cosine"),
        ("cosine + zero_gamma", "cosine"),
    ]


def test_greedy_keeps_the_base_and_the_hyper_parameters():
    steps = play(["mixup(alpha=0.5)", "cosine"], gain={"mixup(alpha=0.5)": 2.0, "cosine": 1.0}, base=BASE)
    assert steps[1].candidates[0].tricks == {**BASE, "mixup": {"alpha": 0.5}, "cosine": {}}


def test_greedy_ends_with_every_trick_chosen_and_no_candidate():
    assert play(["mixup", "cosine"])[-1] == GreedyStep(("cosine", "mixup"), [])


def test_greedy_honours_the_floor():
    """cosine is too slow at once, warmup after mixup."""
    speed = {"mixup": 20, "cosine": 50, "warmup": 15, "zero_gamma": 0}
    assert play(speed=speed, floor=70.0)[-1].chosen == ("mixup",)
    assert play(speed=speed, floor=65.0)[-1].chosen == ("mixup", "warmup")
    with pytest.raises(UserError, match=r"a floor of 70 images/s on inference needs the throughput"):
        play(floor=70.0)


def test_greedy_passes_over_what_failed_and_takes_the_first_of_equals():
    step = greedy_first(ABC)
    assert greedy_next(step, ABC, {"mixup": 1.0, "cosine": None, "warmup": 1.0}).chosen == ("mixup",)
    assert greedy_next(step, ABC, {"mixup": None, "cosine": 0.0, "warmup": float("nan")}) is None


def test_greedy_chooses_one_of_two_values_of_a_hyper_parameter():
    tricks = ["mixup", "mixup(alpha=0.5)", "cosine"]
    step = greedy_next(greedy_first(tricks), tricks, {"mixup": 1.0, "mixup(alpha=0.5)": 2.0, "cosine": 0.0})
    assert [arm.label for arm in step.candidates] == ["mixup(alpha=0.5) + cosine"]


# What is typed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mixup", ("mixup", {})),
        (" mixup() ", ("mixup", {})),
        ("mixup(alpha=0.5,partner=batch)", ("mixup", {"alpha": 0.5, "partner": "batch"})),
        ("mixup( alpha = 1 )", ("mixup", {"alpha": 1.0})),
        ("linear_scaling(base_batch=128)", ("linear_scaling", {"base_batch": 128})),
    ],
)
def test_a_trick_is_parsed(text, expected):
    name, params = parse_trick(text)
    assert (name, params) == expected
    assert list(map(type, params.values())) == list(map(type, expected[1].values()))


@given(st.floats(0, 1e300), st.sampled_from(["batch", "second_batch"]))
def test_a_label_can_be_typed_back(alpha, partner):
    arm = make_arms("arms", [f"cosine+mixup(alpha={alpha},partner={partner})"])[0]
    assert make_arms("arms", [arm.label])[0] == arm
    assert arm.tricks["mixup"] == {"alpha": alpha, "partner": partner}


def test_a_plus_inside_a_value_joins_nothing():
    assert make_arms("arms", ["warmup(epochs=1e+1)+mixup"])[0].tricks == {"warmup": {"epochs": 10.0}, "mixup": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixpu", r"there is no trick 'mixpu'; did you mean 'mixup'\?"),
        ("mixup(alhpa=1)", r"trick 'mixup' has no hyper-parameter 'alhpa'; did you mean 'alpha'\?"),
        ("mixup(alpha=much)", r"trick 'mixup': alpha=much is no float; its default is 0\.2"),
        ("linear_scaling(base_batch=1.5)", r"base_batch=1\.5 is no int; its default is 256"),
        ("mixup(alpha)", r"trick 'mixup': 'alpha' sets no hyper-parameter; write key=value"),
        ("mixup(alpha=1,alpha=2)", r"hyper-parameter 'alpha' is given twice; drop one"),
        ("mixup(alpha=1", r"'mixup\(alpha=1' is no trick; write it as mixup or as mixup\(alpha=0\.5"),
        ("", r"'' is no trick"),
    ],
)
def test_a_bad_trick_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_trick(text)


TEN = MANY[:10]


@pytest.mark.parametrize(
    ("design", "tricks", "options", "message"),
    [
        ("stak", ABC, {}, r"there is no design 'stak'; did you mean 'stack'\? \(one of stack, one_at_a_time"),
        ("stack", [], {}, r"the design 'stack' needs tricks and was given none; list some"),
        ("stack", ["mixup", "mixup"], {}, r"'mixup' is given twice; drop one"),
        ("arms", ["mixup", "mixup(alpha=0.2)"], {}, r"'mixup\(alpha=0\.2\)' is given twice \(as 'mixup', which is the"),
        ("arms", ["mixup+cosine", "cosine+mixup"], {}, r"'cosine \+ mixup' is given twice \(as 'mixup \+ cosine'"),
        ("arms", ["baseline", "baseline"], {}, r"'baseline' is given twice; drop one"),
        ("stack", ["baseline", "mixup"], {}, r"there is no trick 'baseline'"),
        ("stack", ["mixup", "mixup(alpha=1)"], {}, r"'mixup' is given twice: an arm of the design 'stack' would hold"),
        ("arms", ["mixup+mixup(alpha=1)"], {}, r"'mixup' is given twice in 'mixup\+mixup\(alpha=1\)'; drop one"),
        ("stack", ["mixed_precision"], {"base": BASE}, r"'mixed_precision' is in every arm already, .* drop one"),
        ("stack", ABC, {"runs": 4}, r"runs=4 is for the design 'fractional', not for 'stack'; drop it"),
        ("fractional", ABC, {"max_tricks": 2}, r"max_tricks=2 is for the design 'factorial', not for 'fractional'"),
        ("factorial", ABC, {"max_tricks": 0}, r"max_tricks=0 leaves no trick to study; give 1 or more"),
        ("factorial", TEN, {}, r"of 10 tricks has 1024 arms, more than max_arms=512; give max_tricks=4 \(386 arms\), "),
        ("factorial", TEN, {"max_tricks": 5}, r"up to 5 of 10 tricks has 638 arms, .* give max_tricks=4 \(386 arms\)"),
        ("factorial", ABC, {"max_arms": 3}, r"has 8 arms, more than max_arms=3; give max_arms=8, or the design frac"),
        ("fractional", ABC, {"runs": 16}, r"runs=16 is more than the 8 of the full factorial of 3 tricks; give runs=8"),
        ("fractional", TEN, {"runs": 10}, r"no two-level design of 10 tricks has runs=10; give one of 12, 16, 20, 24,"),
        ("fractional", TEN, {"runs": 28}, r"no two-level design of 10 tricks has runs=28; give one of 12, 16"),
        ("fractional", TEN, {"runs": 8}, r"no two-level design of 10 tricks has runs=8; give one of 12, 16"),
        ("fractional", TEN, {"runs": 1024}, r"runs=1024 is more than max_arms=512; give fewer runs, or max_arms=1024"),
        (
            "fractional",
            TEN,
            {"max_arms": 16},
            r"resolution 4 of 10 tricks has more than max_arms=16 .* or resolution=3",
        ),
        ("fractional", TEN, {"runs": 16, "resolution": 4}, r"in runs=16 have resolution 3 at best, not resolution=4"),
        ("fractional", TEN, {"runs": 12, "resolution": 3}, r"Plackett-Burman design, .*; drop resolution=3, or give"),
        ("fractional", MANY[:4], {"runs": 12}, r"Plackett-Burman design of runs=12 holds an arm twice; give runs=16"),
        ("fractional", ABC, {"resolution": 4}, r"of 3 tricks has resolution=4; give resolution=3 to 3"),
        ("fractional", ABC, {"resolution": 2}, r"of 3 tricks has resolution=2; give resolution=3 to 3"),
        ("fractional", ABC[:2], {"resolution": 3}, r"has resolution=3; give the design factorial, as fractions need"),
    ],
)
def test_bad_input_is_refused(design, tricks, options, message):
    with pytest.raises(UserError, match=message):
        make_arms(design, tricks, base=options.pop("base", {}), size=Size(**options))


def test_importing_designs_imports_neither_torch_nor_pydoe3():
    code = "import sys, bagoftricks.study.designs; print({'torch', 'pyDOE3', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Factors


def test_the_arms_of_crossed_factors_name_the_levels_that_are_on():
    """An entry of several tricks is one factor, by its label."""
    tricks = ["zero_gamma+no_bias_decay", "mixup(alpha=0.5,partner=second_batch)", "warmup"]
    assert factor_levels(tricks) == [
        ["zero_gamma + no_bias_decay"],
        ["mixup(alpha=0.5, partner=second_batch)"],
        ["warmup"],
    ]
    assert [arm.on for arm in make_arms("factorial", tricks[:2])] == [
        (),
        ("zero_gamma + no_bias_decay",),
        ("mixup(alpha=0.5, partner=second_batch)",),
        ("zero_gamma + no_bias_decay", "mixup(alpha=0.5, partner=second_batch)"),
    ]
    half = make_arms("fractional", tricks, size=Size(runs=4), base=BASE)
    assert {arm.on for arm in half} == {(), *((a, b) for ((a,), (b,)) in combinations(factor_levels(tricks), 2))}
    assert {arm.on for arm in make_arms("one_at_a_time", tricks)} == {()}
