"""Step b: no training step of any trick or preset waits for the device."""

from on_gpu.correctness import SYNCHRONISATION, run_tests
from on_gpu.ledger import Work


def measure(work: Work) -> None:
    run_tests(work, f"tests/gpu/{SYNCHRONISATION}.py", *(["-k", "cosine"] if work.dry else []))
