"""docs/library.md has every public name, as its docstring says; the docstrings' examples run."""

import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import bagoftricks as bot

PAGE = Path(__file__).parents[2] / "docs/library.md"
START, END = "<!-- reference: python -m tests.api.test_library_page -->\n", "<!-- end of the reference -->\n"
OBJECTS = {
    "bagoftricks.api.training": ["TrainedRun"],
    "bagoftricks.api.loading": ["LoadedRun", "Prediction"],
    "bagoftricks.api.composing": ["OwnTraining"],
    "bagoftricks.report.frames": ["Study"],
}
INNER = {"frame_of", "results", "store", "subject", "prepared", "trainer"}  # public within the package
EXAMPLES = [f"bagoftricks.api.{name}" for name in ("training", "loading", "sweeping", "composing")]


def signature(function) -> str:
    """Return the parameters of a function, with its types as they are written."""
    text = re.sub(r": (['\"])(.*?)\1", r": \2", str(inspect.signature(function)).split(" ->")[0])
    return re.sub(r"pathlib\.(_local\.)?", "", text)


def text_and_example(doc: str) -> str:
    """Return a docstring as Markdown: its text, and its example as code."""
    text, _, example = inspect.cleandoc(doc).partition("\n>>> ")
    text = text.replace("``", "`").strip()
    return text + (f"\n\n```pycon\n>>> {example.strip()}\n```" if example else "")


def members(cls: type) -> list[str]:
    """Return a line for each public field, property and method of a class."""
    source, lines = inspect.getsource(cls), []
    for name in dict.fromkeys([*getattr(cls, "__annotations__", {}), *vars(cls)]):
        if name.startswith("_") or name in INNER:
            continue
        value = inspect.getattr_static(cls, name, None)
        documented = re.search(rf'\n    {name}: .*\n    """(.*?)"""', source)
        doc = documented[1] if documented else inspect.getdoc(getattr(value, "func", value)) or ""
        called = signature(value).replace("(self, ", "(").replace("(self)", "()") if inspect.isfunction(value) else ""
        first = doc.partition("\n\n")[0].replace("\n", " ").replace("``", "`")
        lines.append(f"- `{name}{called}`: {first}")
    return lines


def reference() -> str:
    parts = ["\n## Reference\n"]
    for name in bot.__all__:
        value = inspect.getattr_static(bot, name, None) or getattr(bot, name)
        if isinstance(value, ModuleType) and name != "study":
            about = {"errors": "Errors of the package", "plugins": "Plug-ins of the user's"}[name]
            parts.append(f"### bot.{name}\n\n{about}: the module `bagoftricks.{name}`.\n")
            if name == "plugins":
                parts.append(
                    f"`bot.plugins.load{signature(bot.plugins.load)}`: {text_and_example(bot.plugins.load.__doc__)}\n"
                )
            continue
        function = bot.__getattr__(name)
        parts.append(f"### bot.{name}{signature(function)}\n\n{text_and_example(function.__doc__)}\n")
    for module, names in OBJECTS.items():
        for name in names:
            cls = getattr(importlib.import_module(module), name)
            parts.append(f"### {name}\n\n{text_and_example(cls.__doc__)}\n\n" + "\n".join(members(cls)) + "\n")
    return "\n".join(parts) + "\n"


def with_reference(page: str) -> str:
    return page[: page.index(START) + len(START)] + reference() + page[page.index(END) :]


def test_the_page_has_the_reference_of_today():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_reference(page), "python -m tests.api.test_library_page writes it"
    for name in bot.__all__:
        assert f"### bot.{name}" in page


@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_of_the_docstrings_run(module, here):
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (found.failed, found.attempted > 0) == (0, True)


def test_the_examples_of_the_page_run(here, capsys):
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```pycon\n(.*?)```", text[: text.index(START)], re.DOTALL)
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, None, None)
    assert example.examples
    found = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(example)
    assert found.failed == 0, capsys.readouterr().out


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
