"""Navigation of the site: the known pages of each part in their order, and whatever else is in its folders."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

# Entries of a part: a page, a pattern for the pages that no other entry names, or a group of entries with its title.
Entries = tuple["str | tuple[str, Entries]", ...]
FIRST = ("index", "README")  # of a folder

PARTS: tuple[tuple[str, Entries], ...] = (
    ("Home", ("docs/index.md",)),
    ("Tutorial", ("docs/tutorial.md", "docs/tutorial/*", "docs/notebooks/*")),
    (
        "How-to guides",
        (
            "docs/howto/*",
            ("Data", ("docs/data.md", "docs/datasets.md")),
            ("Networks", ("docs/finetune.md", "docs/predict.md")),
            ("Studies", ("docs/designs.md", "docs/tuning.md", "docs/travel.md")),
            ("Runs and machines", ("docs/runs.md", "docs/logging.md", "docs/distributed.md", "docs/cluster.md")),
            ("Own parts", ("examples/*",)),
        ),
    ),
    (
        "Reference",
        (
            "docs/reference/commands.md",
            "docs/reference/settings.md",
            "docs/reference/choices.md",
            ("Tricks", ("docs/reference/tricks/index.md", "docs/tricks.md", "docs/reference/tricks/*")),
            ("Experiments", ("experiments/*", "docs/reference/experiments.md")),
            ("Tasks and robustness", ("docs/tasks.md", "docs/corruptions.md")),
            ("Files and output", ("docs/output.md", "docs/stores.md", "docs/pictures.md", "docs/page.md")),
            (
                "Python",
                ("docs/library.md", "docs/reference/api.md", "docs/reference/plugins.md", "docs/reference/testing.md"),
            ),
            "docs/platforms.md",
            "docs/reference/*",
        ),
    ),
    (
        "Explanation",
        (
            "docs/explanation/*",
            "docs/evidence.md",
            "docs/robustness.md",
            "docs/durability.md",
            "docs/speed.md",
            ("Measured", ("benchmarks/*", "results/simulation/*")),
        ),
    ),
    ("Gallery", ("results/README.md", "results/*")),
    ("Lab notebook", ("docs/lab/*",)),
    (
        "Project",
        (
            "docs/glossary.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            ("Decisions", ("docs/adr/*",)),
            "SECURITY.md",
            "README.md",
            "docs/site/*",
            "docs/*",
            "*",
        ),
    ),
)
TITLES = {
    "docs/notebooks/first_study.ipynb": "A study in a notebook",
    "docs/reference/tricks/index.md": "All tricks",
    "docs/tricks.md": "All hyper-parameters",
    "experiments/README.md": "How they are written",
    "docs/reference/experiments.md": "All experiments",
    "docs/howto/README.md": "All guides",
    "docs/explanation/README.md": "All explanations",
    "examples/README.md": "Examples",
    "benchmarks/RESULTS.md": "Speed",
    "benchmarks/README.md": "How speed is measured",
    "results/README.md": "All studies",
    "README.md": "Readme",
    "docs/site/README.md": "This site",
}


def navigation(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the navigation of the pages in MkDocs's form; parts and groups without pages are left out."""
    left = dict.fromkeys(sorted(names, key=_place))
    known = set(_known(PARTS))
    found = _groups(PARTS, left, known)
    return [{"Home": part["Home"][0]} if "Home" in part else part for part in found]


def _place(name: str) -> tuple[str, bool, str]:
    """Return the key by which pages are sorted: by folder, its own page first."""
    path = PurePosixPath(name)
    return str(path.parent), path.stem not in FIRST, name


def _known(entries: Entries) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, tuple):
            yield from _known(entry[1])
        else:
            yield entry


def _groups(entries: Entries, left: dict[str, None], known: set[str]) -> list[Any]:
    """Return the entries with pages, and take those out of ``left``."""
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, tuple):
            within = _groups(entry[1], left, known)
            found += [{entry[0]: within}] * bool(within)
        else:
            pages = [name for name in left if name == entry or (name not in known and fnmatchcase(name, entry))]
            for name in pages:
                del left[name]
            found += [{TITLES[name]: name} if name in TITLES else name for name in pages]
    return found
