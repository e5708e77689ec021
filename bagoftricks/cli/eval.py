"""bot-eval: the metrics of a finished run or of a file of weights, without training."""

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, launch, run_command
from bagoftricks.cli.streams import say, show_result
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.store.json_fields import Json

if TYPE_CHECKING:
    from bagoftricks.report.rows import EvaluatedRow
    from bagoftricks.run.evaluation import Subject
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import Record

PROGRAM = "bot-eval"
BESIDE_A_RUN = ("image_size", "store", "format", "rerun", "corruptions")  # what can differ from the run's own settings
PARTS_BESIDE_A_RUN = ("data.", "runtime.", "corruptions.")


@dataclass
class EvalArguments:
    """Arguments of the command that are not settings."""

    run: str | None = None
    """run of store=, by the start of its id, or last: the newest; data.*, runtime.*, corruptions, image_size, rerun and
    format can differ"""
    weights: str | None = None
    """file in our names, torchvision's or timm's: .safetensors, or a state dict of torch.save"""
    export: str | None = None
    """write the weights to this .safetensors file as well"""
    naming: str = "ours"
    """names of the exported weights: ours, or torchvision (timm's too)"""
    weight_set: str | None = None
    """one weight set alone, as ema; last is the trained one"""
    report: bool = False
    """true: with corruptions=, the error on every corruption at every severity"""
    show: str | None = None
    """corruptions: a picture of all corruptions of image=, those of corruptions=NAME as that protocol has them"""
    image: str | None = None
    """file of the image for show="""
    out: str = "corruptions.png"
    """file of the picture of show="""
    rest: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, arguments: list[str]) -> "EvalArguments":
        asked = cls()
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if equals and key in ("run", "weights", "export", "naming", "weight_set", "copy", "show", "image", "out"):
                setattr(asked, "weight_set" if key == "copy" else key, value)  # copy: its name in earlier versions
            elif equals and key == "report":
                if value not in ("true", "false"):
                    raise UserError(f"report={value}: must be true or false")
                asked.report = value == "true"
            else:
                asked.rest.append(argument)
        asked.check()
        return asked

    def check(self) -> None:
        if self.run is not None and self.weights is not None:
            raise UserError("run= and weights= are two things to evaluate: type one of them")
        if self.naming not in (namings := ("ours", "torchvision")):
            raise UserError(f"naming={self.naming}: must be one of {', '.join(namings)}")
        if self.export is not None and not self.export.endswith(".safetensors"):
            raise UserError(f"export={self.export}: the name must end in .safetensors")
        if self.show not in (None, "corruptions"):
            raise UserError(f"show={self.show}: there is only show=corruptions")
        if (self.show is None) != (self.image is None):
            raise UserError("show=corruptions and image=FILE belong together: type both")
        if not self.out.lower().endswith(".png"):
            raise UserError(f"out={self.out}: the name must end in .png")
        if self.export is not None and {"-m", "--multirun"} & set(self.rest):
            raise UserError("export= writes one file: leave out -m")


def main(argv: list[str] | None = None) -> int:
    return run_command(PROGRAM, argv, evaluate_what)


def evaluate_what(arguments: list[str]) -> int:
    """Evaluate a run or a file of weights, or show corruptions; the exit status."""
    asked = EvalArguments.of(arguments)
    rows: list[EvaluatedRow] = []
    used: list[Settings] = []

    def show() -> None:
        if rows:
            show_result(shown(rows, used[0].format, each=used[0].corruptions.each, report=asked.report))

    if asked.show is not None:
        _show(asked)
        return DONE
    if asked.run is not None:
        settings, made = _evaluate_run(asked, asked.run)
        used.append(settings)
        rows.extend(made)
        show()
        return DONE

    def of_file(settings: "Settings", command: str) -> None:
        from bagoftricks.run.evaluation import subject_of_file

        used.append(settings)
        rows.extend(_rows(asked, subject_of_file(settings), settings.model.name))

    weights = [] if asked.weights is None else [f"model.weights={asked.weights}"]
    return launch(PROGRAM, of_file, show, [*asked.rest, *weights])


def shown(rows: "list[EvaluatedRow]", style: str, *, each: bool, report: bool) -> str:
    """Return the text to print: the rows, the notes of the robustness, and the report of all errors."""
    if style == "json":
        from bagoftricks.escape import for_json

        values = [row.values() for row in rows]
        return for_json(values[0] if len(values) == 1 else values)
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.report.robustness import error_report, robustness_notes, score_keys
    from bagoftricks.report.styles import ESCAPES, with_notes
    from bagoftricks.report.table import EVALUATION, render, with_robustness

    columns = with_robustness(EVALUATION, rows, score_keys(rows, each=each))
    fit = terminal_fit()
    parts = [with_notes(render(rows, columns, style, fit), robustness_notes(rows), style, fit)]
    for row in rows if report else []:
        for name, result in row.robustness.items():
            parts += [
                "",
                ESCAPES[style](f"{row.label}, {name}"),
                "",
                error_report(name, result, row.weights, style, fit),
            ]
    return "\n".join(parts)


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


def _evaluate_run(asked: EvalArguments, prefix: str) -> "tuple[Settings, list[EvaluatedRow]]":
    """Return the settings of the evaluation and its rows."""
    overrides = parsed_overrides(asked.rest)
    from omegaconf import OmegaConf

    from bagoftricks.cli.schema import settings_schema, to_settings
    from bagoftricks.cli.text import escape, unescape
    from bagoftricks.run.evaluation import subject_of_run
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import settings_of
    from bagoftricks.store.store import Store

    store = overrides.get("store", Settings().store)
    record = Store(unescape(store)).find(prefix)
    config = escape(asdict(settings_of(record)))
    of_run = OmegaConf.merge(OmegaConf.structured(settings_schema()), config)
    trained = to_settings(of_run)  # type: ignore[arg-type]
    OmegaConf.update(of_run, "store", store)
    for name in ("format", "rerun", "corruptions"):
        OmegaConf.update(of_run, name, getattr(Settings(), name))
    OmegaConf.update(of_run, "runtime.progress", Settings().runtime.progress)  # of this command, not of the training
    for key, value in overrides.items():
        OmegaConf.update(of_run, "corruptions.protocol" if key == "corruptions" else key, value)
    settings = to_settings(of_run)  # type: ignore[arg-type]
    size = settings.pixels if {"image_size", "data.image_size"} & overrides.keys() else None
    subject = subject_of_run(record, trained, settings, size)
    return settings, _rows(asked, subject, record.model["name"], record)


def parsed_overrides(arguments: list[str]) -> Json:
    """Parse the overrides that go with run=, in Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from bagoftricks.cli.arguments import normalise_arguments

    for argument in arguments:
        name = argument.lstrip("+~").partition("=")[0]
        if not name.startswith(PARTS_BESIDE_A_RUN) and name not in BESIDE_A_RUN:
            meant = did_you_mean(name, ["run", "weight_set", "export", "naming", *BESIDE_A_RUN])
            raise UserError(
                f"'{argument}' cannot be set with run={meant} (the network and its tricks are "
                "the run's; free are data.*, runtime.*, corruptions, image_size, weight_set, report, export, naming, "
                "rerun, store and format)"
            )
    parsed = OverridesParser.create().parse_overrides(normalise_arguments(arguments))
    return {override.key_or_group: override.value() for override in parsed}


def _rows(asked: EvalArguments, subject: "Subject", model: str, record: "Record | None" = None) -> "list[EvaluatedRow]":
    """Export what is asked for, evaluate, and name the rows; ``record``: of the run that is evaluated."""
    from dataclasses import replace

    from bagoftricks.cli.progress import ConsoleReporter
    from bagoftricks.report.labels import label, weights_label
    from bagoftricks.report.rows import EvaluatedRow
    from bagoftricks.run.corrupted import CorruptedEvaluation, corruption_request
    from bagoftricks.run.evaluation import evaluate, export
    from bagoftricks.run.threads import choose_threads, use_threads

    whole = subject
    if asked.weight_set is not None:
        if asked.weight_set not in subject.files:
            raise UserError(f"weight_set={asked.weight_set}: the weights are of {', '.join(subject.files)}")
        subject = replace(subject, files={asked.weight_set: subject.files[asked.weight_set]})

    def note(line: str) -> None:
        say(PROGRAM, line)

    settings = subject.settings
    use_threads(choose_threads(subject.checked, None, note))
    robust = corruption_request(subject)
    if asked.report and robust is None:
        raise UserError("report=true needs a protocol: add corruptions=NAME")
    if asked.report and settings.format == "csv":
        raise UserError("report=true is for people to read: type format=text, or format=json, which has all errors")
    if asked.export is not None:
        export(subject, next(iter(subject.files)), asked.export, asked.naming)
        note(f"{asked.export} holds the weights, in the names of {asked.naming}")
    tricks = label(subject.trained.tricks)
    run_id, digest = (record.id, record.data.digest) if record else (None, None)
    rows = [
        EvaluatedRow(label=weights_label(tricks, found.weights), model=model, id=run_id, **vars(found))
        for found in evaluate(subject, note, digest)
    ]
    if robust is None:
        return rows
    evaluation = CorruptedEvaluation(whole, robust, record, ConsoleReporter(enabled=settings.runtime.progress))
    if record is not None and not evaluation.belongs:
        note("the robustness on other images than the run's is not added to its record")
    results, doubts = {robust.name: evaluation.result()}, tuple(evaluation.doubts)
    return [replace(row, robustness=results, overlaps=doubts) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
