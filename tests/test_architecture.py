"""Who may import whom, and what no file may do, read from the source."""

import ast
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

import bagoftricks

PACKAGE = Path(bagoftricks.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
TRICKS = [file for file in FILES if file.count("/") == 2 and file.startswith("tricks/")]
DRAWING = [file for file in FILES if file.startswith(("tricks/", "data/"))]

# From the bottom up, with a line per package: a module imports from the lines above its own.
LAYERS = (
    {
        "errors": "all errors, in one tree",
        "rng": "keyed random draws",
        "cores": "cores that this process may use",
        "system": "file locks and calls that not every operating system has",
        "children": "child processes that do not run the caller's program again",
        "started": "ranks that were started together",
        "image_ops": "operations on batches of images",
    },
    {
        "escape": "text made safe for the place where it is shown",
        "registry": "cards of everything that can be added, and the decorators that register it",
        "distributed": "several processes, one run",
        "yaml_files": "YAML files as plain values, with limits",
    },
    {"folders": "folders of YAML files, ours and the user's"},
    {"plugins": "files and modules that the user adds"},
    {"settings": "typed settings of a run"},
    {"recipe": "the algebra: edits, trick, compose, recipe"},
    {"models": "networks built from parts; weights in and out"},
    {
        "tricks": "one file per trick, and the catalogue that finds them",
        "data": "images from their source to a batch",
        "training": "the trainer, its parameters and state",
        "loggers": "one file per logger, which sends the figures of a training elsewhere",
    },
    {"store": "records, leases and checkpoints on disk", "measure": "accuracy, speed, complexity"},
    {"tasks": "one file per task: what a network predicts, its loss and its scores"},
    {"robustness": "corruptions, perturbations, protocols, scores"},
    {"run": "one run, from settings to record"},
    {"study": "planning: designs, experiments, arms, estimates"},
    {"engines": "where the runs of a study are carried out", "statistics": "conclusions from records"},
    {"report": "tables and pictures of records"},
    {"cli": "the commands; Hydra lives here only"},
    {
        "testing": "contracts of plug-ins, for their authors' tests",
        "__main__": "the list of commands, as python -m bagoftricks",
        "api": "the functions of import bagoftricks: what the commands do, from Python",
    },
)
LAYER_OF = {module: height for height, layer in enumerate(LAYERS) for module in layer}


def in_each(files: Sequence[str]) -> Callable[[Callable[[str], None]], Callable[[], None]]:
    """Make one test of a function that checks a file: thousands of tests would take longer to start than to run."""

    def decorate(check: Callable[[str], None]) -> Callable[[], None]:
        def every() -> None:
            for file in files:
                try:
                    check(file)
                except AssertionError as error:
                    raise AssertionError(f"{file}: {error}") from error

        return every

    return decorate


tree_of = cache(ast.parse)


@cache
def imports(source: str) -> set[str]:
    """Dotted names of all that is imported, wherever in the file: ``from a import b`` gives ``a.b``."""
    found = set()
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return found


def own_imports(file: str) -> set[str]:
    """What a file imports from the package, as ``tricks.FAMILY_OF``; the package's version is nobody's module."""
    inside = {name.removeprefix("bagoftricks.") for name in imports(FILES[file]) if name.startswith("bagoftricks.")}
    return inside - {"__version__"}


def module_of(name: str) -> str:
    """``tricks`` for ``tricks.FAMILY_OF`` and for ``tricks/refine/mixup.py``, ``train`` for ``train.py``."""
    return name.partition("/")[0].partition(".")[0]


@cache
def calls(source: str) -> list[tuple[ast.Call, str]]:
    """Each call with the dotted name of what is called, aliases resolved as far as the imports tell."""
    tree, alias, found = tree_of(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            alias.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom):
            alias.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            found.append((node, alias.get(first, first) + dot + rest))
    return found


def given(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def has_generator(call: ast.Call) -> bool:
    value = given(call, "generator")
    return value is not None and not (isinstance(value, ast.Constant) and value.value is None)


TORCH_DRAWS = {
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"),
    *("rand_like", "randn_like", "randint_like"),
}
DRAWS_IN_PLACE = {
    *("uniform_", "normal_", "bernoulli_", "random_", "exponential_", "trunc_normal_", "orthogonal_"),
    *("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"),
}
GLOBAL_DRAWERS = ("torch.distributions.", "torchvision.transforms.Random", "torchvision.transforms.v2.Random")
NUMPY_WITH_A_SEED = {"Generator", "Philox", "SeedSequence"}


def global_draws(source: str) -> list[str]:
    """Calls that draw from a generator that everybody shares."""
    found = []
    for call, name in calls(source):
        owner, _, last = name.rpartition(".")
        shared = (
            owner == "random"
            or (owner == "numpy.random" and last not in NUMPY_WITH_A_SEED)
            or (owner == "torch" and last in TORCH_DRAWS and not has_generator(call))
            or (last in DRAWS_IN_PLACE and not has_generator(call))
            or name.startswith(GLOBAL_DRAWERS)
        )
        if shared:
            found.append(ast.unparse(call))
    return found


def unsafe_loads(source: str) -> list[str]:
    return [
        ast.unparse(call)
        for call, name in calls(source)
        if name == "torch.load" and ast.unparse(given(call, "weights_only") or ast.Constant(None)) != "True"
    ]


@in_each(list(FILES))
def test_only_the_catalogue_and_the_command_line_read_the_table_of_contents(file):
    if module_of(file) not in ("cli", "tricks"):
        assert [name for name in own_imports(file) if name.startswith("tricks.FAMIL")] == []


@in_each([file for file in FILES if not file.startswith("tricks/")])
def test_nobody_imports_a_trick_by_name(file):
    modules = {trick.removesuffix(".py").replace("/", ".") for trick in TRICKS}
    assert [name for name in own_imports(file) if any(f"{name}.".startswith(f"{m}.") for m in modules)] == []


@in_each(TRICKS)
def test_a_trick_imports_edits_and_shared_pieces_and_no_other_trick(file):
    allowed = (
        *("recipe.edits", "recipe.optimizers", "recipe.schedule_free", "recipe.trick"),
        *("errors", "image_ops", "models.layers", "rng"),
    )
    assert [name for name in own_imports(file) if not f"{name}.".startswith(tuple(f"{a}." for a in allowed))] == []


@in_each([file for file in FILES if not file.startswith("cli/")])
def test_hydra_lives_in_the_command_line_alone(file):
    assert [name for name in imports(FILES[file]) if name.partition(".")[0] in ("hydra", "omegaconf")] == []


@in_each([file for file in FILES if file not in ("__init__.py", *TRICKS)])
def test_a_module_imports_only_from_below(file):
    module = module_of(file)
    others = [name for name in own_imports(file) if module_of(name) != module]
    assert [name for name in others if LAYER_OF[module_of(name)] >= LAYER_OF[module]] == []


@in_each(list(FILES))
def test_no_import_is_relative(file):
    assert [name for name in imports(FILES[file]) if name.startswith(".")] == []


@in_each(DRAWING)
def test_tricks_and_data_draw_from_keyed_generators_alone(file):
    assert global_draws(FILES[file]) == []


@in_each(list(FILES))
def test_loading_a_file_runs_no_code_from_it(file):
    assert unsafe_loads(FILES[file]) == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.randperm(3)",
        "import torch as t\nt.rand(3, generator=None)",
        "from torch import randn\nrandn(3)",
        "x.normal_()",
        "from torch import nn\nnn.init.xavier_uniform_(w)",
        "import random\nrandom.random()",
        "from random import shuffle\nshuffle(x)",
        "import numpy as np\nnp.random.rand(3)",
        "import numpy as np\nnp.random.default_rng()",
        "from torch.distributions import Beta\nBeta(1, 1)",
        "from torchvision.transforms import v2\nv2.RandomCrop(3)",
    ],
)
def test_a_draw_from_a_shared_generator_is_found(source):
    assert len(global_draws(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.randperm(3, generator=g)",
        "x.normal_(generator=g)",
        "key.numpy().beta(1, 1)",
        "import numpy as np\nnp.random.Generator(np.random.Philox(key=3))",
        "from torch import nn\nnn.init.zeros_(w)",
    ],
)
def test_a_keyed_draw_is_not_taken_for_a_shared_one(source):
    assert global_draws(source) == []


@pytest.mark.parametrize(("arguments", "unsafe"), [("f", 1), ("f, weights_only=False", 1), ("f, weights_only=True", 0)])
def test_an_unsafe_load_is_found(arguments, unsafe):
    assert len(unsafe_loads(f"import torch\ntorch.load({arguments})")) == unsafe


def image_readers(source: str) -> list[str]:
    """Calls and imports that open image files."""
    names = [name for _, name in calls(source) if name.endswith("Image.open") or name.startswith("torch.ops.image")]
    readers = ("torchvision.io.decode_", "torchvision.io.read_", "torchvision.datasets.folder", "cv2.", "imageio")
    return names + [name for name in imports(source) if name.startswith(readers) or name == "PIL.Image.open"]


@in_each(list(FILES))
def test_one_module_opens_images(file):
    assert bool(image_readers(FILES[file])) == (file == "data/decode.py")


@pytest.mark.parametrize(
    "source",
    [
        "from PIL import Image\nImage.open(path)",
        "import PIL.Image as image\nimage.open(path)",
        "from PIL.Image import open",
        "from torchvision.io import decode_image",
    ],
)
def test_a_reader_of_images_is_found(source):
    assert image_readers(source)


MOST_LINES, MOST_PARAMETERS = 50, 6


@in_each(list(FILES))
def test_functions_are_short_and_take_few_parameters(file):
    functions = [node for node in ast.walk(tree_of(FILES[file])) if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno >= MOST_LINES] == []
    taken = {
        f.name: [a.arg for a in f.args.posonlyargs + f.args.args + f.args.kwonlyargs if a.arg not in ("self", "cls")]
        for f in functions
    }
    assert {name: taken for name, taken in taken.items() if len(taken) > MOST_PARAMETERS} == {}


def test_no_two_modules_import_each_other_in_a_circle():
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}
    imported = {
        name: [n if n in modules else n.rpartition(".")[0] for n in own_imports(f)] for name, f in modules.items()
    }
    left = {name: {n for n in found if n in modules and n != name} for name, found in imported.items()}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == []
