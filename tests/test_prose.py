"""Plain English and one meaning for each word, as far as the syntax tree shows it."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import bagoftricks
from tests.test_architecture import in_each

PACKAGE = Path(bagoftricks.__file__).parent
TREES = {str(p.relative_to(PACKAGE)): ast.parse(p.read_text(encoding="utf-8")) for p in sorted(PACKAGE.rglob("*.py"))}
FILES = list(TREES)

QUESTIONS = {
    "What",
    "Whether",
    "How",
    "Where",
    "Of",
    "Those",
    "That",
    "Which",
    "Who",
    "Whose",
    "When",
    "If",
    "In",
    "As",
}
ARTICLES = {"The", "A", "An", "All", "Each", "Every", "This", "These", "Its", "One", "Two", "No", "Not", "Between"}
BANNED = re.compile(r"\b(so many|mends?|mended|beside|anew|of which|that which|heeds?)\b")
# Type variables, the commands' entry points, and the library's names, which users write as bot.train.
SHARED = {"T", "K", "P", "main", "logger", *bagoftricks.__all__}


def documented(tree: ast.Module):
    """Yield (node, docstring) of the module, its classes and functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield node, text


def is_property(node: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


@in_each(FILES)
def test_a_docstring_of_a_function_begins_with_a_verb_and_none_with_a_question(file):
    wrong = []
    for node, text in documented(TREES[file]):
        first = re.match(r"\W*(\w*)", text)[1]
        banned = QUESTIONS | (ARTICLES if isinstance(node, ast.FunctionDef) and not is_property(node) else set())
        if first in banned or (isinstance(node, ast.FunctionDef) and not is_property(node) and first.endswith("ing")):
            wrong.append(f"{getattr(node, 'name', file)}: {text.partition(chr(10))[0]}")
    assert wrong == []


@in_each(FILES)
def test_no_text_uses_words_that_plain_english_does_without(file):
    texts = [
        node.value for node in ast.walk(TREES[file]) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [text for text in texts if BANNED.search(text)] == []


def test_no_public_name_stands_in_two_modules():
    homes = defaultdict(set)
    for file, tree in TREES.items():
        for node in tree.body:
            names = [node.name] if isinstance(node, ast.ClassDef | ast.FunctionDef) else []
            if isinstance(node, ast.Assign | ast.AnnAssign) and not file.startswith("tricks/"):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names += [target.id for target in targets if isinstance(target, ast.Name)]
            for name in names:
                if not name.startswith("_") and name not in SHARED:
                    homes[name].add(file)
    assert {name: sorted(files) for name, files in homes.items() if len(files) > 1} == {}
