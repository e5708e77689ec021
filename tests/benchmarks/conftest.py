import signal

import pytest


@pytest.fixture(autouse=True)
def own_signals():
    """Programs of benchmarks handle SIGTERM; the tests after them are of runs, which handle it in their own way."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
