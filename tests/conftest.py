import atexit
import os
import shutil
import tempfile

import jaxtyping
import pytest
import torch
from beartype import BeartypeConf, beartype
from hypothesis import settings
from jaxtyping import install_import_hook

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="bagoftricks-tests-")  # tests keep nothing in the user's cache
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for any type checker

settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")
torch.set_num_threads(1)  # on tiny tensors threads cost more than they save
install_import_hook("bagoftricks", f"{__name__}.check")  # every annotated shape is checked while the tests run


@pytest.fixture
def unchecked(monkeypatch):
    """Types are not checked, so that a trick meets the values that its annotations exclude and a user can type."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
