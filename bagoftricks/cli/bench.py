"""bot-bench: what a network with its tricks costs, without training it."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, launch, run_command
from bagoftricks.cli.streams import say, show_result

if TYPE_CHECKING:
    from bagoftricks.report.rows import CostRow
    from bagoftricks.settings import Settings

PAPERS = {"image_size": "224", "num_classes": "1000"}


def main(argv: list[str] | None = None) -> int:
    return run_command("bot-bench", argv, bench)


def bench(arguments: list[str]) -> int:
    """Measure the networks of an experiment's rows, or those of the arguments; the exit status."""
    if any(argument.lstrip("+").startswith("experiment=") for argument in arguments):
        show_result(experiment_costs(arguments))
        return DONE
    given = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    if not given & {"data", "preset"}:
        arguments = [*arguments, *(f"{key}={value}" for key, value in PAPERS.items() if key not in given)]
    rows: list[CostRow] = []
    used: list[Settings] = []

    def job(settings: "Settings", command: str) -> None:
        from bagoftricks.report.labels import label
        from bagoftricks.report.rows import CostRow
        from bagoftricks.run.bench import measure
        from bagoftricks.store.typed import settings_by_key

        found = measure(settings, lambda text: say("bot-bench", text))
        tricks = f" + {label(found.settings.tricks)}" if found.settings.tricks else ""
        name = f"{settings.model.name}{tricks}"
        used.append(settings)
        facts = settings_by_key(asdict(settings))
        rows.append(CostRow(label=name, facts=facts, image_size=settings.pixels, cost=found.cost, note=found.note))

    def show() -> None:
        if rows:
            from bagoftricks.cli.layout import terminal_fit
            from bagoftricks.escape import for_json
            from bagoftricks.report.table import BENCH, render, with_differences
            from bagoftricks.store.json_fields import to_json

            if used[0].format == "json" and len(rows) == 1:
                counts = to_json(rows[0].cost) | ({"note": rows[0].note} if rows[0].note else {})
                show_result(for_json(rows[0].values() if used[0].measure else counts))
            else:
                show_result(render(rows, with_differences(BENCH, rows), used[0].format, terminal_fit()))

    return launch("bot-bench", job, show, arguments)


def experiment_costs(arguments: list[str]) -> str:
    """Return a table of the costs of an experiment's rows, with the published ones; train nothing."""
    from bagoftricks.cli.compose import compose_settings
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.report.rows import CostRow
    from bagoftricks.report.styles import with_notes
    from bagoftricks.report.table import published_costs
    from bagoftricks.run.bench import measure
    from bagoftricks.study.experiment import load_experiment
    from bagoftricks.study.overrides import arm_settings

    own = {"experiment": "", "scale": "paper", "format": "text"}
    own |= {key: value for key, _, value in (a.lstrip("+").partition("=") for a in arguments) if key in own}
    rest = [argument for argument in arguments if argument.lstrip("+").partition("=")[0] not in own]
    name, scale, style = own.values()
    experiment = load_experiment(name, scale)
    rows: list[CostRow] = []
    for arm in experiment.arms:
        if arm.needs or arm.quoted:
            what = f"needs {', '.join(arm.needs)}" if arm.needs else "is quoted, without a network"
            say("bot-bench", f"{arm.label} {what}")
            continue
        settings = arm_settings(arm, [*experiment.overrides, *rest, f"format={style}"], compose_settings)

        def warn(text: str, label: str = arm.label) -> None:
            say("bot-bench", f"{label}: {text}")

        say("bot-bench", f"{arm.label}, {settings.model.name}")
        found = measure(settings, warn)
        row = CostRow(
            label=arm.label, image_size=settings.pixels, cost=found.cost, published=arm.published, note=found.note
        )
        rows.append(row)
    source = [f"paper's numbers: {experiment.source}"] if experiment.source else []
    return with_notes(published_costs(rows, style, terminal_fit()), [*source, *experiment.notes], style)


if __name__ == "__main__":
    sys.exit(main())
