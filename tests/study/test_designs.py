import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise
from math import comb, prod
from operator import mul

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import UserError
from bagoftricks.study.aliases import alias_lines, find_aliases
from bagoftricks.study.arms import DESIGNS, Arm
from bagoftricks.study.designs import GreedyStep, Size, fold_lines, folds_for, greedy_first, greedy_next, make_arms
from bagoftricks.study.factors import factor_levels, parse_trick
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


def alias_structure(arms, tricks):
    """The notes on the aliases of arms, by the tricks that they hold."""
    named = [Arm(label=arm.label, on=tuple(trick for trick in tricks if trick in arm.tricks)) for arm in arms]
    return "\n".join(alias_lines(named, [[trick] for trick in tricks]))


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
        "main effects are right only if there are no interactions: each main effect is partly aliased with 45 of 55 "
        "two-way interactions (correlation up to 0.33)",
    ]


def test_an_unbalanced_design_is_called_so():
    assert alias_structure(make_arms("one_at_a_time", ABC), ABC).startswith("resolution I: a trick is not on in half")


# Greedy

GAIN = {"mixup": 0.3, "cosine": 0.5, "warmup": 0.1, "zero_gamma": -0.2}


def play(tricks=tuple(GAIN), gain=GAIN, **base):
    """Play an additive game to its end, where the gain of a trick does not depend on the others."""
    steps = [greedy_first(tricks, **base)]
    while steps[-1].candidates:
        gains = {arm.label: gain[arm.label.split(" + ")[-1]] for arm in steps[-1].candidates}
        best = max(gains, key=gains.__getitem__)
        if gains[best] < 0:
            break
        steps.append(greedy_next(steps[-1], tricks, best))
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


def test_greedy_chooses_one_of_two_values_of_a_hyper_parameter():
    tricks = ["mixup", "mixup(alpha=0.5)", "cosine"]
    step = greedy_next(greedy_first(tricks), tricks, "mixup(alpha=0.5)")
    assert [arm.label for arm in step.candidates] == ["mixup(alpha=0.5) + cosine"]


def test_halving_has_the_typed_sets_and_the_baseline_and_compares_none():
    arms = make_arms("halving", ["mixup", "mixup+cosine"])
    assert [(arm.label, arm.compare_to) for arm in arms] == [
        ("baseline", None),
        ("mixup", None),
        ("mixup + cosine", None),
    ]


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
        ("mixup(alpha=much)", r"trick 'mixup': alpha=much: must be a number; its default is 0\.2"),
        ("linear_scaling(base_batch=1.5)", r"base_batch=1\.5: must be a whole number; its default is 256"),
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

LEVELS = ["mixup|cutmix", "resnet_b|resnet_c|resnet_d", "mixup(alpha=0.1)|mixup(alpha=0.4)+warmup"]
SINGLE = ["cosine", "ema", "label_smoothing", "zero_gamma+no_bias_decay", "se", "gelu", "sam", "cutout"]


def on_of(arm, tricks):
    """Labels of the factors' levels whose tricks an arm holds, found from its tricks."""
    found = []
    for entry in tricks:
        for level in entry.split("|"):
            parts = dict(parse_trick(part) for part in level.split("+"))
            if all(arm.tricks.get(name) == params for name, params in parts.items()):
                found.append(" + ".join(level.split("+")))
    return tuple(found)


def shares(arms, factors):
    """How often each choice of levels of some factors is on."""
    return Counter(tuple(next((of for of in labels if of in arm.on), "off") for labels in factors) for arm in arms)


lists_of_factors = st.tuples(
    st.lists(st.sampled_from(LEVELS[:2]), max_size=2, unique=True),
    st.lists(st.sampled_from(SINGLE), min_size=1, max_size=6, unique=True),
).map(lambda parts: [*parts[0], *parts[1]])


@given(lists_of_factors, st.sampled_from(["factorial", "fractional"]))
def test_an_arm_names_the_levels_of_its_own_tricks(tricks, design):
    arms = make_arms(design, tricks, base=BASE, size=Size(max_arms=4096))
    assert all(arm.on == on_of(arm, tricks) for arm in arms)
    assert {level for arm in arms for level in arm.on} == {level for of in factor_levels(tricks) for level in of}
    assert all(arm.label == (" + ".join(arm.on) or "baseline") for arm in arms)


@given(lists_of_factors, st.sampled_from([None, 3, 4]))
def test_the_levels_of_a_fraction_are_balanced_and_any_two_factors_in_proportion(tricks, resolution):
    """Counts of two factors' levels are the products of each one's: what makes main effects independent."""
    size = Size(resolution=resolution if len(tricks) > 3 else None)
    arms, factors = make_arms("fractional", tricks, size=size), factor_levels(tricks)
    assert len({arm.on for arm in arms}) == len(arms)
    for of in factors:
        counts = shares(arms, [of])
        others = {counts[level,] for level in of}
        assert len(others) == 1  # alternatives are on alike
        assert counts["off",] in (len(arms) // 2, min(others))
        for other in (other for other in factors if other != of):
            single = shares(arms, [other])
            for (a, b), count in shares(arms, [of, other]).items():
                assert count * len(arms) == counts[a,] * single[b,]
    assert find_aliases([arm.on for arm in arms], factors).resolution >= min(resolution or 4, len(tricks), 4)


def test_an_entry_of_several_tricks_is_one_factor():
    tricks = ["zero_gamma+no_bias_decay", "mixup(alpha=0.5,partner=second_batch)"]
    labels = ["zero_gamma + no_bias_decay", "mixup(alpha=0.5, partner=second_batch)"]
    assert factor_levels(tricks) == [[label] for label in labels]
    assert [arm.on for arm in make_arms("factorial", tricks)] == [(), (labels[0],), (labels[1],), tuple(labels)]
    assert {arm.on for arm in make_arms("one_at_a_time", tricks)} == {()}


def test_a_factorial_has_every_choice_of_levels():
    arms = make_arms("factorial", ["mixup|cutmix", "cosine"])
    assert [(arm.label, sorted(arm.tricks), arm.compare_to) for arm in arms] == [
        ("baseline", [], None),
        ("mixup", ["mixup"], "baseline"),
        ("cutmix", ["cutmix"], "baseline"),
        ("cosine", ["cosine"], "baseline"),
        ("mixup + cosine", ["cosine", "mixup"], "baseline"),
        ("cutmix + cosine", ["cosine", "cutmix"], "baseline"),
    ]
    assert len(make_arms("factorial", [*LEVELS[1:], "cosine"])) == 4 * 3 * 2
    assert len(make_arms("factorial", [*LEVELS[1:], "cosine"], size=Size(max_tricks=1))) == 1 + 3 + 2 + 1


def test_values_of_a_hyper_parameter_are_alternatives():
    arms = make_arms("factorial", ["mixup(alpha=0.1)|mixup(alpha=0.4)"])
    assert [arm.tricks for arm in arms] == [{}, {"mixup": {"alpha": 0.1}}, {"mixup": {"alpha": 0.4}}]


@pytest.mark.parametrize(
    ("tricks", "runs", "counts"),
    [
        (["mixup|cutmix", *SINGLE[:2]], 8, {"off": 4, "mixup": 2, "cutmix": 2}),
        (["mixup|cutmix", *SINGLE[:2]], None, {"off": 4, "mixup": 4, "cutmix": 4}),  # the full factorial: 3 x 2 x 2
        (["mixup|cutmix", *SINGLE[:6]], 16, {"off": 8, "mixup": 4, "cutmix": 4}),
        ([LEVELS[1], *SINGLE[:4]], 8, {"off": 2, "resnet_b": 2, "resnet_c": 2, "resnet_d": 2}),
    ],
)
def test_alternatives_take_two_columns_and_off_takes_two_cells_of_three_levels(tricks, runs, counts):
    arms = make_arms("fractional", tricks, size=Size(runs=runs))
    assert shares(arms, factor_levels(tricks)[:1]) == {(level,): count for level, count in counts.items()}
    said = alias_lines(arms, factor_levels(tricks))[0]
    assert said == f"of {len(arms)} arms: {', '.join(f'{level} in {count}' for level, count in counts.items())}"


def test_aliases_of_a_factor_with_alternatives():
    """P = a, Q = b, and PQ is kept free: ema can only be a product with a further letter c."""
    tricks = ["mixup|cutmix", "cosine", "ema"]
    assert alias_lines(make_arms("fractional", tricks, size=Size(runs=8)), factor_levels(tricks))[1:] == [
        "resolution III: main effects are aliased with two-way interactions",
        "(mixup | cutmix) is mixed with cosine x ema",
        "(mixup | cutmix) x cosine is mixed with ema, (mixup | cutmix) x ema",
        "(mixup | cutmix) x ema is mixed with cosine",
    ]


def test_a_factor_of_several_tricks_stands_in_brackets_in_the_aliases():
    tricks = ["zero_gamma+no_bias_decay", "mixup", "cosine"]
    lines = alias_lines(make_arms("fractional", tricks, size=Size(runs=4)), factor_levels(tricks))
    assert lines[1:] == [
        "(zero_gamma + no_bias_decay) = -mixup x cosine",
        "mixup = -(zero_gamma + no_bias_decay) x cosine",
        "cosine = -(zero_gamma + no_bias_decay) x mixup",
    ]


@pytest.mark.parametrize(
    ("design", "tricks", "options", "message"),
    [
        ("stack", ["mixup|cutmix", "sam"], {}, r"type design=one_at_a_time 'tricks=\[mixup,cutmix,sam\]'$"),
        (
            "one_at_a_time",
            ["mixup|cutmix"],
            {},
            r"'mixup\|cutmix': alternatives are levels of a factor, in the designs",
        ),
        ("factorial", ["mixup|mixup(alpha=0.2)"], {}, r"'mixup\(alpha=0\.2\)' is given twice \(as 'mixup'"),
        ("factorial", ["mixup|"], {}, r"'' is no trick"),
        (
            "factorial",
            ["mixup|cutmix", "cutmix(alpha=0.5)"],
            {},
            r"make them one factor, 'cutmix\|cutmix\(alpha=0.5\)', or compare them with one",
        ),
        (
            "fractional",
            ["mixup|cutmix", *SINGLE[:3]],
            {"runs": 12},
            r"no design with alternatives .* one of 8, 16, 32$",
        ),
        (
            "fractional",
            ["mixup|cutmix", *SINGLE[:5]],
            {"runs": 8},
            r"no design with alternatives .* give one of 16, 32",
        ),
        ("fractional", ["mixup|cutmix", LEVELS[1], "sam"], {"runs": 8}, r"runs=8 do not balance .* give runs=16"),
        (
            "fractional",
            ["mixup|cutmix", "celu|gelu", "sam"],
            {"runs": 8},
            r"runs=8 do not balance .* give runs=16",
        ),
        (
            "fractional",
            ["celu|gelu|mixup|cutmix"],
            {},
            r"at most 3 alternatives, and one has 4; .* give design=factorial",
        ),
        ("fractional", ABC, {"runs": 4, "fold": ("cosin",)}, r"fold=cosin: there is no such factor; did you mean 'cos"),
        (
            "fractional",
            ABC,
            {"runs": 8, "fold": ("cosine",)},
            r"fold=cosine: adds no arm, .* \(nothing is aliased with",
        ),
        ("fractional", ABC, {"runs": 4, "fold": ("all", "all")}, r"fold=all: adds no arm, .* \(it is its own mirror\)"),
        ("fractional", ABC, {"runs": 4, "fold": ("all",), "max_arms": 4}, r"fold=all: makes more than max_arms=4 arms"),
        ("fractional", ["mixup|cutmix", *SINGLE[:3]], {"runs": 8, "fold": ("cutmix",)}, r"of two levels.* fold=cosine"),
        ("fractional", ["mixup|cutmix", *SINGLE[:3]], {"runs": 8, "fold": ("all",)}, r"of two levels.* fold=cosine"),
        ("factorial", ABC, {"fold": ("all",)}, r"fold=\[all\] is for the design 'fractional', not for 'factorial'"),
    ],
)
def test_alternatives_and_folds_that_cannot_be_are_refused(design, tricks, options, message):
    with pytest.raises(UserError, match=message):
        make_arms(design, tricks, size=Size(**options))


# Folds


def aliased_pairs(arms, tricks):
    """Pairs of main effects and two-way interactions whose columns are not orthogonal, as sets of numbers."""
    columns = levels(arms, tricks)
    terms = [term for size in (1, 2) for term in combinations(range(len(tricks)), size)]
    made = {term: [prod(row) for row in zip(*(columns[i] for i in term), strict=True)] for term in terms}
    return [(a, b) for a, b in combinations(terms, 2) if sum(map(mul, made[a], made[b]))]


@given(st.integers(3, 11), st.data())
def test_a_fold_frees_the_factor_and_everything_with_it(n, data):
    """After a fold on a factor, neither it nor an interaction with it is aliased with what lacks it."""
    tricks = MANY[:n]
    runs = data.draw(st.sampled_from([r for r in (4, 8, 16) if n < r < 2**n]))
    factor = data.draw(st.integers(0, n - 1))
    half = make_arms("fractional", tricks, size=Size(runs=runs))
    try:
        arms = make_arms("fractional", tricks, size=Size(runs=runs, fold=(tricks[factor],)))
    except UserError:
        assert not any((factor in a) != (factor in b) for a, b in aliased_pairs(half, tricks))
        return
    assert arms[:runs] == half
    assert [set(arm.tricks) ^ {tricks[factor]} for arm in half] == [set(arm.tricks) for arm in arms[runs:]]
    assert not any((factor in a) != (factor in b) for a, b in aliased_pairs(arms, tricks))


@given(st.integers(3, 11), st.sampled_from([4, 8, 12, 16, 20]))
def test_a_fold_of_all_factors_makes_resolution_four_of_three(n, runs):
    tricks = MANY[:n]
    try:
        arms = make_arms("fractional", tricks, size=Size(runs=runs, fold=("all",)))
    except UserError:
        return
    assert len(arms) == 2 * runs
    assert find_aliases([arm.on for arm in arms], factor_levels(tricks)).resolution >= 4
    assert not any(len(a) + len(b) < 4 for a, b in aliased_pairs(arms, tricks))


def test_seven_factors_in_eight_runs_are_folded_to_sixteen_and_thirty_two():
    """2^(7-4) of resolution III; its mirror makes 2^(7-3) of resolution IV (Montgomery 2017, table 8.24)."""
    tricks, size = MANY[:7], Size(runs=8)
    assert len(make_arms("fractional", tricks, size=size._replace(fold=("all",)))) == 16
    assert folds_for(tricks, size, 8) == ()
    assert folds_for(tricks, size, 16) == ("all",)
    first, then = folds_for(tricks, size, 32)
    assert (first, then in tricks) == ("all", True)
    assert folds_for(tricks, size._replace(fold=("all", then)), 32) == ("all", then)
    with pytest.raises(UserError, match=r"runs=24: a study of 8 arms is folded to 16 or 32; give runs=16"):
        folds_for(tricks, size, 24)
    with pytest.raises(UserError, match=r"runs=16: no fold of these 8 arms adds any"):
        folds_for(MANY[:3], Size(), 16)


def test_the_best_fold_leaves_the_most_interactions_clear():
    """2^(7-3), resolution IV: of all folds, one leaves the most of its 21 two-way interactions clear of others."""
    tricks, size = MANY[:7], Size(runs=16)

    def clear(fold):
        pairs = aliased_pairs(make_arms("fractional", tricks, size=size._replace(fold=(fold,))), tricks)
        return 21 - len({term for pair in pairs for term in pair})

    (best,) = folds_for(tricks, size, 32)
    assert clear(best) == max(clear(trick) for trick in tricks) > 0


def test_notes_say_what_each_fold_added():
    assert fold_lines(["all", "mixup"], 32) == [
        "fold=all: 8 arms, then 8 more with every factor switched",
        "fold=mixup: 16 arms, then 16 more with mixup switched",
    ]


def test_a_factor_of_several_tricks_is_folded_by_one_of_them_or_by_all():
    tricks = ["zero_gamma+no_bias_decay", "mixup", "cosine"]
    made = [make_arms("fractional", tricks, size=Size(runs=4, fold=(f,))) for f in (tricks[0], "no_bias_decay")]
    assert made[0] == made[1]
    assert len(made[0]) == 8


# Settings as entries


def test_a_setting_is_a_factor_like_a_trick():
    arms = make_arms("factorial", ["mixup", "epochs=16"])
    assert [(a.label, set(a.tricks), a.settings, a.on) for a in arms] == [
        ("baseline", set(), (), ()),
        ("mixup", {"mixup"}, (), ("mixup",)),
        ("epochs=16", set(), ("epochs=16",), ("epochs=16",)),
        ("mixup + epochs=16", {"mixup"}, ("epochs=16",), ("mixup", "epochs=16")),
    ]


def test_settings_go_together_with_tricks_and_are_alternatives():
    both, plain, large = make_arms("arms", ["cosine+epochs=16", "baseline", "model=resnet9"])
    assert (both.label, set(both.tricks), both.settings) == ("cosine + epochs=16", {"cosine"}, ("epochs=16",))
    assert (plain.settings, large.settings) == ((), ("model=resnet9",))
    budgets = make_arms("factorial", ["epochs=8|epochs=16", "mixup"])
    assert [a.settings for a in budgets if not a.tricks] == [(), ("epochs=8",), ("epochs=16",)]


def test_a_setting_of_two_factors_is_refused():
    with pytest.raises(UserError, match=r"setting 'epochs' is given twice: .* one factor, 'epochs=8\|epochs=16'"):
        make_arms("factorial", ["epochs=8", "epochs=16"])
    with pytest.raises(UserError, match="'epochs=8' is given twice"):
        make_arms("one_at_a_time", ["epochs=8", "epochs=8"])


def test_a_setting_that_was_chosen_stays_in_the_next_steps():
    first = greedy_first(["epochs=16", "mixup"])
    (arm,) = greedy_next(first, ["epochs=16", "mixup"], first.candidates[0].label).candidates
    assert (arm.label, set(arm.tricks), arm.settings) == ("epochs=16 + mixup", {"mixup"}, ("epochs=16",))
