"""bot-eval: the metrics of a finished run or of a file of weights, without training."""

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bagoftricks.cli.app import guarded_main, launch
from bagoftricks.cli.help import text
from bagoftricks.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from bagoftricks.settings import Settings
    from bagoftricks.study.evaluation import Subject

PROGRAM = "bot-eval"
BESIDE_A_RUN = ("image_size", "store", "format")  # what can differ from the run's own settings, with data.*, runtime.*


@dataclass
class Asked:
    """What is asked of the command beside the settings."""

    run: str | None = None
    weights: str | None = None
    export: str | None = None
    naming: str = "ours"
    copy: str | None = None
    rest: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, arguments: list[str]) -> "Asked":
        asked = cls()
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if equals and key in ("run", "weights", "export", "naming", "copy"):
                setattr(asked, key, value)
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
        if self.export is not None and {"-m", "--multirun"} & set(self.rest):
            raise UserError("export= writes one file: leave out -m")


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(arguments):
        print(text(PROGRAM))
        return 0
    rows: list[dict[str, Any]] = []
    styles: list[str] = []

    def show() -> None:
        if rows:
            from bagoftricks.report.table import EVALUATION, render

            print(_json(rows) if styles[0] == "json" else render(rows, EVALUATION, styles[0]))

    def of_run(asked: Asked) -> None:
        assert asked.run is not None
        settings, made = _evaluate_run(asked, asked.run)
        styles.append(settings.format)
        rows.extend(made)
        show()

    try:
        asked = Asked.of(arguments)
    except UserError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    if asked.run is not None:
        return guarded_main(PROGRAM, lambda: of_run(asked))

    def of_file(settings: "Settings", command: str) -> None:
        from bagoftricks.study.evaluation import subject_of_file

        styles.append(settings.format)
        about = {"model": settings.model.name, "weights": settings.model.weights}
        rows.extend(_rows(asked, subject_of_file(settings), about))

    weights = [] if asked.weights is None else [f"model.weights={asked.weights}"]
    return launch(PROGRAM, of_file, show, [*asked.rest, *weights])


def _evaluate_run(asked: Asked, prefix: str) -> "tuple[Settings, list[dict[str, Any]]]":
    """The settings of the evaluation and its rows."""
    overrides = _parsed(asked.rest)
    from omegaconf import OmegaConf

    from bagoftricks.cli.schema import to_settings
    from bagoftricks.settings import Settings
    from bagoftricks.study.evaluation import subject_of_run
    from bagoftricks.study.store import Store

    store = overrides.get("store") or Settings().store
    record = Store(store).find(prefix)
    of_run = OmegaConf.merge(OmegaConf.structured(Settings), record.config)
    trained = to_settings(of_run)  # type: ignore[arg-type]
    OmegaConf.update(of_run, "store", store)
    OmegaConf.update(of_run, "format", "text")
    for key, value in overrides.items():
        OmegaConf.update(of_run, key, value)
    settings = to_settings(of_run)  # type: ignore[arg-type]
    size = settings.pixels if {"image_size", "data.image_size"} & overrides.keys() else None
    subject = subject_of_run(record, trained, settings, size)
    return settings, _rows(
        asked, subject, {"model": record.model["name"], "id": record.id}, digest=record.data["digest"]
    )


def _parsed(arguments: list[str]) -> dict[str, Any]:
    """The overrides beside run=, in Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from bagoftricks.cli.arguments import tidy

    for argument in arguments:
        name = argument.lstrip("+~").partition("=")[0]
        if not name.startswith(("data.", "runtime.")) and name not in BESIDE_A_RUN:
            meant = did_you_mean(name, ["run", "copy", "export", "naming", *BESIDE_A_RUN])
            raise UserError(
                f"'{argument}' cannot be set beside run={meant} (the network and its tricks are "
                "the run's; free are data.*, runtime.*, image_size, copy, export, naming, store and format)"
            )
    parsed = OverridesParser.create().parse_overrides(tidy(arguments))
    return {override.key_or_group: override.value() for override in parsed}


def _rows(asked: Asked, subject: "Subject", about: dict[str, Any], digest: str | None = None) -> list[dict[str, Any]]:
    """Export what is asked for, evaluate, and name the rows."""
    from dataclasses import replace

    from bagoftricks.report.table import label
    from bagoftricks.study.evaluation import evaluate, export

    if asked.copy is not None:
        if asked.copy not in subject.files:
            raise UserError(f"copy={asked.copy}: the weights are of {', '.join(subject.files)}")
        subject = replace(subject, files={asked.copy: subject.files[asked.copy]})

    def note(line: str) -> None:
        print(f"{PROGRAM}: {line}", file=sys.stderr)

    if asked.export is not None:
        export(subject, next(iter(subject.files)), asked.export, asked.naming)
        note(f"{asked.export} holds the weights, in the names of {asked.naming}")
    tricks = label(subject.trained.tricks)
    return [
        {"label": tricks if row["copy"] == "last" else f"{tricks} [{row['copy']}]", **about, **row}
        for row in evaluate(subject, note, digest)
    ]


def _json(rows: list[dict[str, Any]]) -> str:
    import json

    return json.dumps(rows[0] if len(rows) == 1 else rows, indent=2)


if __name__ == "__main__":
    sys.exit(main())
