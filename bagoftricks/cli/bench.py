"""bot-bench: what a network with its tricks costs, without training it."""

import sys
from typing import TYPE_CHECKING

from bagoftricks.cli.app import guarded_main, launch
from bagoftricks.cli.extend import extend

if TYPE_CHECKING:
    from bagoftricks.report.rows import CostRow
    from bagoftricks.settings import Settings

PAPERS = {"image_size": "224", "num_classes": "1000"}


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if any(argument.startswith("experiment=") for argument in arguments) and not {"-h", "--help"} & set(arguments):
        return guarded_main("bot-bench", lambda: print(experiment_costs(extend(arguments))))
    given = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    if not given & {"data", "preset"}:
        arguments = [*arguments, *(f"{key}={value}" for key, value in PAPERS.items() if key not in given)]
    rows: list[CostRow] = []
    used: list[Settings] = []

    def job(settings: "Settings", command: str) -> None:
        from bagoftricks.report.rows import CostRow
        from bagoftricks.report.table import label
        from bagoftricks.run.bench import measure

        def warn(text: str) -> None:
            print(f"bot-bench: {text}", file=sys.stderr)

        tricks = f" + {label(settings.tricks)}" if settings.tricks else ""
        name = f"{settings.model.name}{tricks}"
        used.append(settings)
        rows.append(CostRow(label=name, image_size=settings.pixels, cost=measure(settings, warn)))

    def show() -> None:
        if rows:
            import json

            from bagoftricks.report.table import BENCH, render
            from bagoftricks.store.json_fields import to_json

            if used[0].format == "json" and len(rows) == 1:
                print(json.dumps(rows[0].values() if used[0].measure else to_json(rows[0].cost), indent=2))
            else:
                print(render(rows, BENCH, used[0].format))

    return launch("bot-bench", job, show, arguments)


def experiment_costs(arguments: list[str]) -> str:
    """Return a table of the costs of an experiment's rows, with the published ones; train nothing."""
    from bagoftricks.cli.compose import compose_settings
    from bagoftricks.report.rows import CostRow
    from bagoftricks.report.table import published_costs
    from bagoftricks.run.bench import measure
    from bagoftricks.study.experiment import load_experiment
    from bagoftricks.study.plan import arm_settings

    own = {"experiment": "", "scale": "paper", "format": "text"}
    own |= {key: value for key, _, value in (a.partition("=") for a in arguments) if key in own}
    rest = [argument for argument in arguments if argument.partition("=")[0] not in own]
    name, scale, style = own.values()
    experiment = load_experiment(name, scale)
    rows: list[CostRow] = []
    for arm in experiment.arms:
        if arm.needs:
            print(f"bot-bench: {arm.label} needs {', '.join(arm.needs)}", file=sys.stderr)
            continue
        settings = arm_settings(arm, [*experiment.overrides, *rest, f"format={style}"], compose_settings)

        def warn(text: str, label: str = arm.label) -> None:
            print(f"bot-bench: {label}: {text}", file=sys.stderr)

        print(f"bot-bench: {arm.label}, {settings.model.name}", file=sys.stderr)
        cost = measure(settings, warn)
        rows.append(CostRow(label=arm.label, image_size=settings.pixels, cost=cost, published=arm.published))
    return published_costs(rows, style)


if __name__ == "__main__":
    sys.exit(main())
