import atexit
import os
import re
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import pytest
import torch
from beartype import BeartypeConf, beartype
from hypothesis import settings
from jaxtyping import install_import_hook

fonts = os.path.join(tempfile.gettempdir(), f"bagoftricks-tests-matplotlib-{os.getuid()}")
os.environ.setdefault("MPLCONFIGDIR", fonts)  # finding all fonts takes seconds, and each process would do it again
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="bagoftricks-tests-")  # tests keep nothing in the user's cache
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for any type checker

settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")
torch.set_num_threads(1)  # on tiny tensors threads cost more than they save


def shaped_modules():
    """Modules that annotate shapes, or use a name for annotated ones; mypy checks the types of the others."""
    package = Path(find_spec("bagoftricks").origin).parent
    for path in sorted(package.rglob("*.py")):
        if path.name != "__init__.py" and re.search(r"\b(jaxtyping|Images|Logits|Targets)\b", path.read_text("utf-8")):
            yield ".".join(path.relative_to(package.parent).with_suffix("").parts)


install_import_hook(list(shaped_modules()), f"{__name__}.check")  # every annotated shape is checked while the tests run


@pytest.fixture
def unchecked(monkeypatch):
    """Types are not checked, so that a trick meets the values that its annotations exclude and a user can type."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
