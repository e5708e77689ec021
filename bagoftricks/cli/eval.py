"""bot-eval: the metrics of a finished run or of a file of weights, without training."""

import sys
from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, launch, run_command
from bagoftricks.cli.eval_arguments import EVAL_ARGUMENTS, PROGRAM, EvalArguments
from bagoftricks.cli.finished import BESIDE_A_RUN, finished_run, parsed_overrides
from bagoftricks.cli.streams import say
from bagoftricks.errors import DataError, UserError, did_you_mean

if TYPE_CHECKING:
    from bagoftricks.cli.eval_result import EvalResult
    from bagoftricks.run.evaluation import Subject
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import Record


def main(argv: list[str] | None = None) -> int:
    return run_command(PROGRAM, argv, evaluate_what)


def evaluate_what(arguments: list[str]) -> int:
    """Evaluate a run or a file of weights, or show corruptions; the exit status."""
    asked = EvalArguments.of(arguments)
    if asked.show is not None:
        _show(asked)
        return DONE
    if asked.run is not None:
        _evaluate_run(asked, asked.run)
        return DONE
    return _evaluate_files(asked)


def _evaluate_files(asked: EvalArguments) -> int:
    """Evaluate a file of weights, with -m several; the exit status."""
    evaluated: list[EvalResult] = []

    def of_file(settings: "Settings", command: str) -> None:
        from bagoftricks.cli.eval_result import EvalResult
        from bagoftricks.run.evaluation import subject_of_file

        evaluated[:] = evaluated or [EvalResult(asked)]
        evaluated[0].add(subject_of_file(settings))

    def show() -> None:
        for result in evaluated:
            result.show()

    weights = [] if asked.weights is None else [f"model.weights={asked.weights}"]
    return launch(PROGRAM, of_file, show, [*asked.rest, *weights])


def _show(asked: EvalArguments) -> None:
    """Write a picture of the corruptions on an image of the user's."""
    from bagoftricks.cli.compose import compose_settings
    from bagoftricks.report.corruption_grid import write_grid

    for argument in asked.rest:
        name = argument.lstrip("+~").partition("=")[0]
        if not name.startswith("corruptions") and name not in ("image_size", "runtime.device"):
            near = did_you_mean(name, ["corruptions", "image_size", "image", "out", "show"])
            raise UserError(f"'{argument}' has no meaning with show=corruptions{near} (corruptions.*, image_size, out)")
    settings = compose_settings(asked.rest)
    assert asked.image is not None
    write_grid(asked.image, asked.out, settings.corruptions, settings.image_size or 224)
    say(PROGRAM, f"{asked.out} shows the corruptions")


def _evaluate_run(asked: EvalArguments, prefix: str) -> None:
    """Evaluate a run; without its data, it can be exported all the same."""
    typed = parsed_overrides(asked.rest, (*BESIDE_A_RUN, "rerun", "corruptions"), EVAL_ARGUMENTS)
    run = finished_run(prefix, typed)  # first: a run that is not there needs no torch
    from bagoftricks.cli.eval_result import EvalResult
    from bagoftricks.run.evaluation import subject_of_run, without_data

    result = EvalResult(asked)
    try:
        subject = subject_of_run(run.record, run.trained, run.settings, run.size)
    except DataError as error:
        if asked.export is None or asked.soup is not None:
            raise
        data = without_data(run.record.data.class_names)
        result.export(subject_of_run(run.record, run.trained, run.settings, run.size, data))
        say(PROGRAM, f"exported, but not evaluated: {error}")
        return
    if asked.soup is not None:
        result = _soup(asked, subject, run.record)
    else:
        result.add(subject, run.record)
    result.show()


def _soup(asked: EvalArguments, subject: "Subject", record: "Record") -> "EvalResult":
    """Evaluate the mean of the weights of several runs; no record is changed."""
    from dataclasses import replace
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from bagoftricks.cli.eval_result import EvalResult
    from bagoftricks.run.soup import SOUP, soup_subject
    from bagoftricks.store.store import Store
    from bagoftricks.store.weight_sets import LAST

    store, result = Store(subject.settings.store), EvalResult(replace(asked, weight_set=SOUP))
    records = [record, *(store.find(prefix, "soup") for prefix in asked.others)]
    with TemporaryDirectory() as folder:
        result.add(soup_subject(subject, records, asked.weight_set or LAST, Path(folder)))
    return result


if __name__ == "__main__":
    sys.exit(main())
