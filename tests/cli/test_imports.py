"""Modules that a command loads: each takes a second or more, and is imported only where it is used."""

import json
import subprocess
import sys

SLOW = ("torchvision", "torch._dynamo", "sympy", "sklearn", "statsmodels", "scipy", "pandas", "matplotlib")
TORCH = ("torch", "triton", "PIL")
FAST = ["image_size=8", "epochs=1", "store=store", "runtime.progress=false"]
PROGRAM = """
import json, sys
from bagoftricks.cli.{command} import main
assert main({arguments}) == 0
json.dump(sorted(sys.modules), open("modules.json", "w"))
"""


def loaded(folder, command, *arguments):
    """The modules that the command has loaded, at its end."""
    program = PROGRAM.format(command=command, arguments=list(arguments))
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True)
    return set(json.loads((folder / "modules.json").read_text()))


def test_a_run_on_the_digits_loads_torch_and_nothing_else_that_is_slow(tmp_path):
    modules = loaded(tmp_path, "train", *FAST)
    assert "torch" in modules
    assert not modules & {*SLOW, "triton"}


def test_help_loads_neither_hydra_nor_torch(tmp_path):
    assert not loaded(tmp_path, "train", "--help") & {*SLOW, *TORCH, "hydra", "omegaconf", "numpy"}


def test_a_plan_loads_torch_and_no_more_of_scipy_than_it_needs(tmp_path):
    modules = loaded(tmp_path, "sweep", "design=factorial", "tricks=[mixup,cosine]", "plan=true", *FAST[:3])
    assert "torch" in modules
    assert not modules & {*SLOW, "triton", "scipy.stats"} - {"scipy"}
