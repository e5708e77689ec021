"""A study is a list of arms crossed with seeds; an arm is a named set of tricks over the study's settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bagoftricks.registry import Values

Tricks = Mapping[str, Values]  # name -> the hyper-parameters that are given; the others keep their defaults


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row of a study."""

    label: str
    tricks: Tricks = field(default_factory=dict)
    settings: tuple[str, ...] = ()  # what else the row changes, as typed on the command line: ("epochs=200",)
    compare_to: str | None = None  # label of the arm that its difference is measured from; None: it has none
    published: Mapping[str, float] = field(default_factory=dict)  # the paper's values by column: {"top1": 77.16}
    needs: tuple[str, ...] = ()  # tricks of the row that do not exist yet; such an arm cannot run
    on: tuple[str, ...] = ()  # factorial and fractional designs: labels of the levels that are switched on
    seeds: tuple[int, ...] = ()  # its own; none: those of the study
    quoted: bool = False  # published numbers alone: no run


CROSSED = ("factorial", "fractional")  # designs of factors: each is on in some arms and off in the others
SELECTING = ("greedy", "halving")  # designs that choose among their arms while they run
DESIGNS = {
    "stack": "tricks added one by one, each row against the one above, as in the papers' tables",
    "one_at_a_time": "each trick alone, against the baseline",
    "leave_one_out": "all tricks but one, against all of them",
    "factorial": "every subset of the tricks: main effects and interactions (max_tricks= limits the subsets)",
    "fractional": "a part of the factorial that still tells the main effects apart (runs=, resolution=, fold=)",
    "arms": "the sets that are typed, as 'tricks=[mixup,resnet_d+cosine]', against the baseline",
    "greedy": "the trick that helps most, then the one that adds most to it, until none stands (floor=, confirm=)",
    "halving": "the sets that are typed: the better half goes on with more seeds, until one is left (eta=, confirm=)",
}
