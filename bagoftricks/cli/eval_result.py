"""Result of bot-eval: exports, rows, details and pictures of the evaluated networks."""

from dataclasses import asdict, dataclass, field, replace

from bagoftricks.cli.eval_arguments import PROGRAM, EvalArguments
from bagoftricks.cli.layout import terminal_fit
from bagoftricks.cli.progress import ConsoleReporter
from bagoftricks.cli.streams import say, show_result
from bagoftricks.errors import UserError
from bagoftricks.report.details import TABLES, Details, details_of, details_text
from bagoftricks.report.figures import check_figure_file, write_calibration, write_confusion, write_mistakes
from bagoftricks.report.labels import label, weights_label
from bagoftricks.report.robustness import error_report, robustness_notes, score_keys
from bagoftricks.report.rows import EvaluatedRow
from bagoftricks.report.styles import ESCAPES, with_notes
from bagoftricks.report.table import evaluation_columns, render, with_differences, with_robustness
from bagoftricks.run.corrupted import CorruptedEvaluation, corruption_request
from bagoftricks.run.evaluation import Evaluated, Subject, evaluate
from bagoftricks.run.exporting import check_export, export
from bagoftricks.run.predicting import chosen_weight_set
from bagoftricks.run.threads import choose_threads, use_threads
from bagoftricks.settings import Settings
from bagoftricks.store.record import Record
from bagoftricks.store.typed import settings_by_key


def _note(line: str) -> None:
    say(PROGRAM, line)


@dataclass
class EvalResult:
    """Rows of the evaluated weight sets, and the details of one of each network."""

    asked: EvalArguments
    rows: list[EvaluatedRow] = field(default_factory=list)
    details: list[Details] = field(default_factory=list)
    settings: Settings = field(default_factory=Settings)  # of the last evaluation

    def add(self, subject: Subject, record: Record | None = None) -> None:
        """Export what is asked for, and evaluate; ``record``: of the run that is evaluated."""
        self.settings = replace(subject.settings, task=subject.trained.task)
        whole, robust = subject, corruption_request(subject)
        self.check(robust is not None)
        if self.asked.weight_set is not None:
            subject = subject.only(self.asked.weight_set)
        use_threads(choose_threads(subject.checked, None, _note))
        weights = self.export(subject)
        evaluated = evaluate(subject, _note, record.data.digest if record else None)
        rows = self._rows_of(subject, evaluated, weights)
        if robust is not None:
            reporter = ConsoleReporter(enabled=self.settings.runtime.progress)
            evaluation = CorruptedEvaluation(whole, robust, record, reporter)
            if record is not None and not evaluation.belongs:
                _note("the robustness on other images than the run's is not added to its record")
            results, doubts = {robust.name: evaluation.result()}, tuple(evaluation.doubts)
            rows = [replace(row, robustness=results, overlaps=doubts) for row in rows]
        self.rows += rows

    def check(self, robust: bool) -> None:
        """Raise UserError for what cannot be shown or written, before anything is evaluated."""
        asked, task = self.asked, self.settings.task
        if task.targets != "classes" and (robust or asked.tables or asked.pictures):
            what = "corruptions" if robust else [*asked.tables, *asked.pictures][0]
            raise UserError(f"{what}= is of classes, and the network's task is {task.name}: leave it out")
        if asked.report and not robust:
            raise UserError("report=true needs a protocol: add corruptions=NAME")
        if self.settings.format == "csv" and (asked.report or asked.tables):
            name = "report" if asked.report else asked.tables[0]
            raise UserError(
                f"{name}=true is for people to read: type format=text, or format=json, which has all numbers"
            )
        for name, out in asked.pictures.items():
            if name != "mistakes":
                check_figure_file(name, out)
        if asked.export is not None:
            check_export(asked.export)

    def export(self, subject: Subject) -> str | None:
        """Write the network to the file that is asked for, if one is.

        Return the weight set that files and details are of, None if nothing is asked for.
        """
        asked = self.asked
        if not (asked.export or asked.tables or asked.pictures):
            return None
        weights = chosen_weight_set(subject, asked.weight_set, _note)
        if asked.export is not None:
            check_export(asked.export)
            _note(export(subject, weights, asked.export, asked.naming))
        return weights

    def _rows_of(self, subject: Subject, evaluated: list[Evaluated], weights: str | None) -> list[EvaluatedRow]:
        """Return a row for each weight set; ``weights`` has details if they are asked for."""
        tricks, model = label(subject.trained.tricks), subject.trained.model.name
        made = {}
        if weights is not None and (self.asked.tables or self.asked.pictures):
            details = details_of(subject, next(found for found in evaluated if found.weights == weights))
            self.details.append(details)
            self.draw(subject, details)
            made[weights] = details.values()
        return [
            EvaluatedRow(
                label=weights_label(tricks, found.weights),
                facts=settings_by_key(asdict(subject.settings)),
                model=model,
                id=subject.run,
                details=made.get(found.weights, {}),
                **found.shown(),
            )
            for found in evaluated
        ]

    def draw(self, subject: Subject, details: Details) -> None:
        """Write the pictures that are asked for."""
        for name, out in self.asked.pictures.items():
            if name == "mistakes" and not details.wrong:
                _note(f"{name}={out}: there are none")
                continue
            if name == "mistakes":
                write_mistakes(subject, details, out)
            else:
                {"confusion": write_confusion, "calibration": write_calibration}[name](details, out)
            _note(f"{out} shows the {TABLES[name][0]}")

    def show(self) -> None:
        """Print the result, if anything was evaluated."""
        if self.rows:
            show_result(self.text())

    def text(self) -> str:
        """Return the text to print: the rows, details, notes of the robustness, and the report of all errors."""
        style, each = self.settings.format, self.settings.corruptions.each
        if style == "json":
            from bagoftricks.escape import for_json

            values = [row.values() for row in self.rows]
            return for_json(values[0] if len(values) == 1 else values)

        columns = with_robustness(
            with_differences(evaluation_columns(), self.rows), self.rows, score_keys(self.rows, each=each)
        )
        fit = terminal_fit()
        parts = [with_notes(render(self.rows, columns, style, fit), robustness_notes(self.rows), style, fit)]
        for each_one in self.details if self.asked.tables else ():
            parts += ["", details_text(each_one, self.asked.tables, style, fit)]
        for row in self.rows if self.asked.report else []:
            for name, result in row.robustness.items():
                parts += [
                    "",
                    ESCAPES[style](f"{row.label}, {name}"),
                    "",
                    error_report(name, result, row.weights, style, fit),
                ]
        return "\n".join(parts)
