"""The devices of these tests: each runs on the CPU too, where the default suite keeps its code alive."""

import os

import pytest
import torch

from tests.gpu.devices import CUDA
from tests.run.conftest import untimed

__all__ = ["untimed"]  # a fixture

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products need it before the first


@pytest.fixture(params=["cpu", CUDA])
def device(request):
    """A device, with arithmetic in whole fp32."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield torch.device(request.param)
    torch.backends.cudnn.allow_tf32 = allowed


@pytest.fixture
def deterministic():
    """Deterministic algorithms alone."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
