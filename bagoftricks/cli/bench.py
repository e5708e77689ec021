"""bot-bench: what a network with its tricks costs, without training it."""

import sys
from typing import TYPE_CHECKING, Any

from bagoftricks.cli.app import launch

if TYPE_CHECKING:
    from bagoftricks.settings import Settings

PAPERS = {"image_size": "224", "num_classes": "1000"}


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    given = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    if not given & {"data", "preset"}:
        arguments = [*arguments, *(f"{key}={value}" for key, value in PAPERS.items() if key not in given)]
    rows: list[dict[str, Any]] = []
    styles: list[str] = []

    def job(settings: "Settings", command: str) -> None:
        from bagoftricks.report.table import label
        from bagoftricks.study.bench import measure

        def warn(text: str) -> None:
            print(f"bot-bench: {text}", file=sys.stderr)

        alone = settings.format == "json" and not settings.measure
        tricks = f" + {label(settings.tricks)}" if settings.tricks else ""
        named = {} if alone else {"label": f"{settings.model.name}{tricks}", "image_size": settings.pixels}
        styles.append(settings.format)
        rows.append({**named, **measure(settings, warn)})

    def show() -> None:
        if rows:
            import json

            from bagoftricks.report.table import BENCH, render

            alone = styles[0] == "json" and len(rows) == 1
            print(json.dumps(rows[0], indent=2) if alone else render(rows, BENCH, styles[0]))

    return launch("bot-bench", job, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
