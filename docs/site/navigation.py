"""Navigation of the site: the known pages of each part in their order, then the other files of its folders."""

from collections.abc import Iterable
from typing import Any

REFERENCE = "docs/reference/"
PARTS: dict[str, tuple[str, ...]] = {
    "Home": ("docs/index.md",),
    "Tutorial": ("docs/tutorial.md", "docs/notebooks/first_study.ipynb"),
    "How-to guides": (
        *("docs/howto/README.md", "docs/howto/index.md", "docs/data.md", "docs/finetune.md", "docs/predict.md"),
        *("docs/tuning.md", "docs/runs.md", "docs/logging.md", "docs/distributed.md", "docs/cluster.md"),
        *("docs/travel.md", "examples/README.md"),
    ),
    "Reference": (
        *(f"{REFERENCE}commands.md", f"{REFERENCE}settings.md", f"{REFERENCE}choices.md"),
        *(f"{REFERENCE}tricks/index.md", "docs/tricks.md"),
        *(f"{REFERENCE}experiments.md", "experiments/README.md", "docs/designs.md", "docs/tasks.md"),
        *("docs/datasets.md", "docs/corruptions.md", "docs/output.md", "docs/stores.md", "docs/pictures.md"),
        *("docs/page.md", "docs/library.md", f"{REFERENCE}api.md"),
        *(f"{REFERENCE}plugins.md", f"{REFERENCE}testing.md", "docs/platforms.md"),
    ),
    "Explanation": (
        *("docs/explanation/README.md", "docs/explanation/index.md", "docs/evidence.md", "docs/robustness.md"),
        *("docs/durability.md", "docs/speed.md", "benchmarks/RESULTS.md", "benchmarks/README.md"),
        "results/simulation/README.md",
    ),
    "Gallery": ("results/README.md",),
    "Lab notebook": ("docs/lab/README.md", "docs/lab/index.md"),
    "Project": (
        "docs/glossary.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "README.md",
        "docs/site/README.md",
    ),
}
# Folder -> part, and the group within it: for pages that no part names, the first that fits.
FOLDERS = {
    f"{REFERENCE}tricks/": ("Reference", "Each trick"),
    "docs/adr/": ("Project", "Decisions"),
    "docs/tutorial/": ("Tutorial", ""),
    "docs/howto/": ("How-to guides", ""),
    "docs/explanation/": ("Explanation", ""),
    "docs/lab/": ("Lab notebook", ""),
    "docs/": ("Reference", ""),
    "benchmarks/": ("Explanation", ""),
    "examples/": ("How-to guides", ""),
    "results/": ("Gallery", ""),
    "": ("Project", ""),
}
TITLES = {
    "docs/notebooks/first_study.ipynb": "A study in a notebook",
    "docs/tricks.md": "All hyper-parameters",
    "benchmarks/RESULTS.md": "Measured speed",
    "results/README.md": "All studies",
    "docs/site/README.md": "This site",
    "README.md": "Readme",
}


def navigation(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the navigation of the pages in MkDocs's form; a part without pages is left out."""
    known = {name for listed in PARTS.values() for name in listed}
    pages = sorted(names)
    parts: dict[str, list[Any]] = {part: [_entry(n) for n in listed if n in pages] for part, listed in PARTS.items()}
    groups: dict[str, list[Any]] = {}
    for name in pages:
        if name not in known:
            part, group = next(place for folder, place in FOLDERS.items() if name.startswith(folder))
            if group and group not in groups:
                parts[part].append({group: groups.setdefault(group, [])})
            (groups[group] if group else parts[part]).append(_entry(name))
    (home,) = parts.pop("Home")
    return [{"Home": home}, *({part: entries} for part, entries in parts.items() if entries)]


def _entry(name: str) -> Any:
    return {TITLES[name]: name} if name in TITLES else name
