"""Depth of each parameter of a network: in its stem, in a stage and a block, or in its head.

The head is the last linear layer, as for model.new_head, or all that follows a backbone. Modules are taken in the
order in which they were built. The children of a network are its stem and its stages; while there are fewer than four
(a stem, ``stages`` and a head), the one with the most tensors is replaced by its children. The blocks of a stage are
the items of a list of modules; any other stage is one block. Norms between two parts belong to the first one, loose
parameters to the stem, and what stands between the last stage and the head to that stage. timm states the groups of its
networks; they take their place.
"""

from collections.abc import Iterable, Mapping
from itertools import chain

from torch import nn

from bagoftricks.models.layers import NORMS
from bagoftricks.models.weights import backbone_of, head_names
from bagoftricks.recipe.edits import Depth, mark_depths

Named = tuple[str, nn.Module]  # the module and its full name
LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
FEWEST_PARTS = 4  # a stem, two stages and a head


def set_depths(model: nn.Module) -> nn.Module:
    """Note the depth of each tensor of ``model`` in the module that owns it; return the model."""
    coarse, fine = _timm_groups(model) or (_numbered(model, _stages(model)), _numbered(model, _blocks(model)))
    last = max(coarse.values(), default=0)
    head = head_names(model) or {name for name, number in coarse.items() if number == last}
    (stage, stages), (block, blocks) = _ranked(coarse, head), _ranked(fine, head)
    for prefix, module in model.named_modules():
        mark_depths(
            module,
            {
                own: Depth(stage=stage[name], block=block[name], stages=stages, blocks=blocks)
                for own, name in _tensors((prefix, module), recurse=False).items()
                if name in stage
            },
        )
    return model


def _tensors(part: Named, *, recurse: bool = True) -> dict[str, str]:
    """Return the full names of the parameters and buffers of a part by their names in it."""
    prefix, module = part
    named = chain(module.named_parameters(recurse=recurse), module.named_buffers(recurse=recurse))
    return {name: f"{prefix}.{name}".lstrip(".") for name, _ in named}


def _children(part: Named) -> list[Named]:
    """Return the children of a part that have tensors."""
    prefix, module = part
    named = [(f"{prefix}.{name}".lstrip("."), child) for name, child in module.named_children()]
    return [child for child in named if _tensors(child)]


def _with_norms(parts: Iterable[Named]) -> list[list[Named]]:
    """Return the parts one by one, each with the norms that follow it."""
    groups: list[list[Named]] = []
    for part in parts:
        if groups and isinstance(part[1], NORMS):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _stages(model: nn.Module) -> list[list[Named]]:
    """Return the stem, the stages and the head."""
    parts, fewest = _children(("", model)), FEWEST_PARTS
    if backbone_of(model) is not None:
        parts = [inner for part in parts for inner in (_children(part) if part[0] == "backbone" else [part])]
        fewest += sum(not name.startswith("backbone.") for name, _ in parts) - 1
    while len(_with_norms(parts)) < fewest:
        place = max(range(len(parts)), key=lambda i: len(_tensors(parts[i])), default=0)
        inner = _children(parts[place]) if parts else []
        if not inner:
            break
        parts[place : place + 1] = inner
    return _with_norms(parts)


def _blocks(model: nn.Module) -> list[list[Named]]:
    """Return the stem, the blocks of all stages and the head."""
    stem, *stages = _stages(model) or [[]]
    listed = (_children(part) if isinstance(part[1], LISTS) else [part] for stage in stages for part in stage)
    return [stem, *_with_norms(chain.from_iterable(listed))]


def _numbered(model: nn.Module, groups: Iterable[Iterable[Named]]) -> dict[str, int]:
    """Return the number of the group of each tensor, 0 for loose ones."""
    loose = dict.fromkeys(_tensors(("", model)), 0)
    return loose | {name: i for i, group in enumerate(groups) for part in group for name in _tensors(part).values()}


def _timm_groups(model: nn.Module) -> tuple[dict[str, int], dict[str, int]] | None:
    """Return the stage and the block that timm gives each parameter of its networks, None for other networks."""
    matcher = getattr(model, "group_matcher", None)
    if matcher is None or type(model).__module__.partition(".")[0] != "timm":
        return None
    from timm.models import group_parameters

    coarse, fine = (group_parameters(model, matcher(coarse=coarse), reverse=True) for coarse in (True, False))
    return coarse, fine


def _ranked(numbers: Mapping[str, int], head: set[str]) -> tuple[dict[str, int], int]:
    """Return numbers without gaps, that of the head last, and the last number before the head."""
    most = max((numbers[name] for name in head if name in numbers), default=0) - 1
    trunk = {name: max(0, min(number, most)) for name, number in numbers.items() if name not in head}
    rank = {number: i for i, number in enumerate(sorted(set(trunk.values())))}
    last = max(rank.values(), default=0)
    return {name: rank[number] for name, number in trunk.items()} | dict.fromkeys(head, last + 1), last
