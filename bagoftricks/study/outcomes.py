"""How a run can end without a record."""


class RunElsewhere(RuntimeError):
    """Another process has the run."""


class TrainingFailed(RuntimeError):
    """The run cannot go on; the message says when, why, and what to type instead."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and is saved; the message says where."""
