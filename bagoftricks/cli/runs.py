"""bot-runs: the runs of a store in every state: list, show, compare, delete, repeat, tidy up.

Imports torch only to repeat a run.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, FAILED, run_command
from bagoftricks.cli.commands import COMMANDS
from bagoftricks.cli.streams import say, show_result
from bagoftricks.errors import RunFailure, UserError, did_you_mean, printable

if TYPE_CHECKING:
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import Record
    from bagoftricks.store.store import Store
    from bagoftricks.store.survey import FolderState, SurveyedRun

PROGRAM_RUNS = "bot-runs"
PARTS_OF_A_REPETITION = ("runtime.", "data.root", "data.val_root", "data.cache")  # what may differ


@dataclass
class RunsArguments:
    """Arguments of the command, as typed."""

    store: str = "results/runs"
    """folder of the runs, or s3://BUCKET/FOLDER"""
    format: str = "text"
    """text, markdown, csv, html or json (alone on standard output)"""
    state: str = ""
    """of list and prune: finished, running, interrupted, failed, leftover or damaged; several with commas"""
    where: str = ""
    """of list: 'top1>90 label~mixup state!=finished', all of them; keys: those of format=json"""
    sort: str = ""
    """of list: age, state, label, top1, ...; -top1 reverses. Default: the newest first"""
    limit: str = ""
    """of list: at most this many runs"""
    yes: str = "false"
    """true: delete and prune without asking"""
    plan: str = "false"
    """true: only show what delete and prune would remove"""
    into: str = ""
    """of repeat: the store that keeps the repetition; default: it is compared, then removed"""
    word: str = "list"
    ids: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, arguments: list[str]) -> "RunsArguments":
        """Read a word, ids and ``key=value`` arguments. Raises UserError with the nearest one."""
        chosen, names = cls(), [field.name for field in fields(cls)][:-3]
        plain = [argument for argument in arguments if "=" not in argument]
        words = [word for word, _ in COMMANDS[PROGRAM_RUNS].words]
        if plain and plain[0].partition(" ")[0] not in words:
            near = did_you_mean(plain[0], words) or f"; to see a run, type {PROGRAM_RUNS} show {plain[0]}"
            raise UserError(f"'{plain[0]}' is no word of {PROGRAM_RUNS}{near} ({', '.join(words)})")
        if plain:
            chosen.word, *chosen.ids = plain
        for argument in [argument for argument in arguments if "=" in argument]:
            key, _, value = argument.partition("=")
            if chosen.word == "repeat" and key.startswith(PARTS_OF_A_REPETITION):
                chosen.rest.append(argument)
            elif key in names:
                setattr(chosen, key, value)
            else:
                raise UserError(f"'{argument}' is not a setting{did_you_mean(key, names)} ({PROGRAM_RUNS} --help)")
        chosen.check()
        return chosen

    def check(self) -> None:
        styles = ("text", "markdown", "csv", "html", "json")
        if self.format not in styles:
            raise UserError(f"format={self.format}: must be one of {', '.join(styles)}")
        for name in ("yes", "plan"):
            if (value := getattr(self, name)) not in ("true", "false"):
                raise UserError(f"{name}={value}: must be true or false")
        counts = {"list": (0, 0), "show": (1, 1), "diff": (2, 2), "repeat": (1, 1), "prune": (0, 0)}
        least, most = counts.get(self.word, (1, 10**6))
        if not least <= len(self.ids) <= most:
            example = next(line for line, _ in COMMANDS[PROGRAM_RUNS].examples if self.word in line.split())
            needs = {(0, 0): "takes no id", (1, 1): "takes one id", (2, 2): "takes two ids"}.get((least, most))
            raise UserError(f"{self.word} {needs or 'takes one id or more'}: type {example}")
        removing = ("delete", "prune")
        belongs = {
            "where": ("list",),
            "sort": ("list",),
            "limit": ("list",),
            "state": ("list", "prune"),
            "into": ("repeat",),
        }
        for name, words in {**belongs, "yes": removing, "plan": removing}.items():
            if getattr(self, name) not in ("", "false") and self.word not in words:
                raise UserError(f"{name}={getattr(self, name)}: belongs to {' and '.join(words)}: leave it out")

    @property
    def states(self) -> "list[FolderState]":
        from bagoftricks.store.survey import FolderState

        known = {state.value: state for state in FolderState}
        names = [name for name in self.state.strip("[]").split(",") if name]
        for name in names:
            if name not in known:
                raise UserError(f"state={name}: must be one of {', '.join(known)}{did_you_mean(name, known)}")
        return [known[name] for name in names]


def main(argv: list[str] | None = None) -> int:
    return run_command(PROGRAM_RUNS, argv, answer_word)


def answer_word(arguments: list[str]) -> int:
    """Carry out one of the words; return the exit status."""
    asked = RunsArguments.of(arguments)
    words: dict[str, Callable[[RunsArguments], int]] = {
        "list": list_runs,
        "show": show_run,
        "diff": show_diff,
        "delete": delete_runs,
        "repeat": repeat_run,
        "prune": prune,
    }
    return words[asked.word](asked)


def open_store(asked: RunsArguments) -> "Store":
    from bagoftricks.store.store import Store

    return Store(asked.store)


# --- list, show, diff ---


def list_runs(asked: RunsArguments) -> int:
    """Print the runs of the store in every state, the newest first."""
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.escape import for_json
    from bagoftricks.report.query import Query
    from bagoftricks.report.run_index import choose_runs, every_run
    from bagoftricks.report.runs import runs_table
    from bagoftricks.report.styles import with_notes

    store, states = open_store(asked), asked.states
    query = Query.of(asked.where, asked.sort, asked.limit)
    found = choose_runs(store, query, states) if query.where or query.limit else None
    found = found or every_run(store, query, states)
    rows, counts = found.rows, found.counts
    if not found.ids and asked.format != "json":
        raise UserError(f"store={asked.store} holds no run yet; bot-train makes one")
    if asked.format == "json":
        show_result(for_json([row.values() for row in rows]))
        return DONE
    notes = [f"{_runs(len(found.ids))}: {', '.join(f'{count} {state}' for state, count in counts.items())}"]
    if {"interrupted", "failed"} & set(counts):
        notes.append(f"{PROGRAM_RUNS} show ID says why, and how to resume")
    shown = runs_table(rows, found.ids, asked.format, terminal_fit()) if rows else "no run is like that"
    show_result(with_notes(shown, notes, asked.format))
    return DONE


def show_run(asked: RunsArguments) -> int:
    """Print all that is known of a run."""
    from bagoftricks.cli.layout import entry_lines, has_blocks
    from bagoftricks.report.run_page import TO_TYPE, page_json, page_sections, run_page
    from bagoftricks.report.styles import draw_table, title_line
    from bagoftricks.store.survey import find_run, survey
    from bagoftricks.study.uses import studies_of, uses_of

    store = open_store(asked)
    run, studies = find_run(store, asked.ids[0]), studies_of(store)
    page = run_page(run, store, studies, uses_of(run.id, survey(store), studies), time.time())
    if asked.format == "json":
        show_result(page_json(page))
        return DONE
    sections = page_sections(page, blocks=has_blocks(sys.stdout.encoding))
    if asked.format == "csv":
        rows = [[title, *entry] for title, entries in sections for entry in entries]
        show_result(draw_table(["part", "key", "value"], rows, (), "csv"))
        return DONE
    lines = [title_line(f"run {run.id}", asked.format)]
    for title, entries in sections:
        if asked.format in ("markdown", "html"):
            lines += ["", *([title_line(title, asked.format)] if title else [])]
            lines.append(draw_table(["", ""], entries, (0, 1), asked.format))
            continue
        lines += ["", f"{title}:"] if title else []
        lines += entry_lines((printable(term), printable(text)) for term, text in entries if term not in TO_TYPE)
        width = max(len(term) for term, _ in entries)
        lines += [f"  {term:{width}}  {printable(text)}" for term, text in entries if term in TO_TYPE]
    show_result("\n".join(lines))
    return DONE


def show_diff(asked: RunsArguments) -> int:
    """Print what differs between two runs."""
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.report.run_diff import diff_runs, diff_text
    from bagoftricks.store.survey import find_run

    store = open_store(asked)
    one, two = (find_run(store, prefix) for prefix in asked.ids)
    if one.id == two.id:
        raise UserError(f"diff {' '.join(asked.ids)}: both name run {one.id}: type two ids")
    show_result(diff_text(diff_runs(one, two), asked.format, terminal_fit()))
    return DONE


# --- delete, prune ---


def delete_runs(asked: RunsArguments) -> int:
    """Remove runs, after showing what depends on them and asking."""
    from bagoftricks.report.run_page import size_text
    from bagoftricks.store.files import refuse_links, total_size
    from bagoftricks.store.removal import remove_run
    from bagoftricks.store.survey import find_run, survey
    from bagoftricks.study.uses import studies_of, uses_of

    store = open_store(asked)
    chosen = list({run.id: run for run in (find_run(store, prefix) for prefix in asked.ids)}.values())
    everything, studies = list(survey(store)), studies_of(store)
    going, count, size = {run.id for run in chosen}, 0, 0
    for run in chosen:
        _refuse_in_use(run)
        refuse_links(run.folder)
        files, held = total_size(run.folder)
        count, size = count + files, size + held
        say(PROGRAM_RUNS, f"{run.id}: {_line(run)} ({files} files, {size_text(held)})")
        for use in uses_of(run.id, [other for other in everything if other.id not in going], studies):
            say(PROGRAM_RUNS, f"  needed: {use}")
    if not _agreed(asked, f"delete {_runs(len(chosen))}, {count} files, {size_text(size)}"):
        return DONE
    for run in chosen:
        remove_run(store, run.id)
        say(PROGRAM_RUNS, f"deleted {run.id}")
    return DONE


def _refuse_in_use(run: "SurveyedRun") -> None:
    from bagoftricks.store.survey import FolderState

    if run.owner and (run.state is FolderState.RUNNING or run.record):
        who = f"process {run.owner.pid} on {run.owner.host}"
        raise UserError(f"run {run.id} is in use by {who}: stop it, or wait for its end")


def prune(asked: RunsArguments) -> int:
    """Remove what no run needs, after showing it and asking."""
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.report.run_page import size_text
    from bagoftricks.report.styles import draw_table
    from bagoftricks.store.removal import QUIET_SECONDS, find_litter, remove_litter
    from bagoftricks.store.survey import FolderState, survey

    refused = {FolderState.FINISHED, FolderState.RUNNING, FolderState.DAMAGED} & set(asked.states)
    if refused:
        name = next(iter(refused)).value
        raise UserError(f"prune state={name}: removes failed, interrupted or leftover runs; type bot-runs delete ID")
    store = open_store(asked)
    found = find_litter(store, survey(store), asked.states)
    if not found:
        show_result(f"nothing to remove (what changed in the last {QUIET_SECONDS / 60:.0f} minutes is left alone)")
        return DONE
    sizes = [litter.size for litter in found]
    places = [[path.relative_to(store.root).as_posix() for path in litter.paths] for litter in found]
    if asked.format == "json":
        from bagoftricks.escape import for_json

        facts = [
            {"what": litter.what, "run": litter.run, "files": files, "bytes": size, "paths": paths}
            for litter, (files, size), paths in zip(found, sizes, places, strict=True)
        ]
        show_result(for_json(facts))
    else:
        shown = [
            [litter.what, litter.run, files, size_text(size), ", ".join(paths)]
            for litter, (files, size), paths in zip(found, sizes, places, strict=True)
        ]
        show_result(
            draw_table(["what", "run", "files", "size", "where"], shown, (0, 1, 4), asked.format, terminal_fit())
        )
    total = sum(count for count, _ in sizes), sum(size for _, size in sizes)
    if not _agreed(asked, f"remove {total[0]} files, {size_text(total[1])}"):
        return DONE
    for litter in found:
        try:
            remove_litter(store, litter)
        except (RunFailure, UserError) as error:
            say(PROGRAM_RUNS, error)
    return DONE


def _agreed(asked: RunsArguments, what: str) -> bool:
    """Return True if the user agrees. Raises UserError where nobody can be asked."""
    if asked.plan == "true":
        say(PROGRAM_RUNS, f"would {what}")
        return False
    if asked.yes == "true":
        return True
    if not sys.stdin.isatty():
        raise UserError(f"{what}: nobody can be asked here: type yes=true")
    print(printable(f"{what}? [y/N] "), end="", file=sys.stderr, flush=True)
    agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not agreed:
        say(PROGRAM_RUNS, "nothing was removed")
    return agreed


def _line(run: "SurveyedRun") -> str:
    """Return a run in one line."""
    from bagoftricks.report.labels import short_label

    about, record = run.description, run.record
    name = short_label(about.tricks, about.command, about.teacher) if about else ""
    who = [f"of {about.user}"] if about and about.user else []
    known = [name, about.model["name"], about.data, f"seed {about.seed}", *who] if about else []
    score = [record.score_text()] if record else []
    return ", ".join([run.state.value, *known, *score])


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


# --- repeat ---


def repeat_run(asked: RunsArguments) -> int:
    """Train a run again elsewhere and compare; the exit status is FAILED if the weights differ."""
    from bagoftricks.store.survey import find_run

    store = open_store(asked)
    run = find_run(store, asked.ids[0])
    if run.record is None:
        raise UserError(f"run {run.id} is {run.state.value}: only a finished run can be repeated")
    if asked.into:
        return _repeated(asked, run.record, store, asked.into)
    with tempfile.TemporaryDirectory(prefix="bot-runs-") as folder:
        return _repeated(asked, run.record, store, folder)


def _repeated(asked: RunsArguments, record: "Record", store: "Store", into: str) -> int:
    from bagoftricks.cli.progress import ConsoleReporter
    from bagoftricks.report.repetition import compare_repetition, identity_note, repetition_text
    from bagoftricks.run.repeat import repeat, repetition_settings
    from bagoftricks.store.store import Store

    settings = overridden(repetition_settings(record, store, into), asked.rest)
    if store.root.resolve() == Store(into).root.resolve():
        raise UserError(f"into={into}: is the store of the run itself: name another folder")
    again = repeat(settings, ConsoleReporter(enabled=True), record.command)
    if note := identity_note(record, again):
        say(PROGRAM_RUNS, note)
    found = compare_repetition(record, again)
    show_result(repetition_text(found, asked.format))
    return DONE if found.identical else FAILED


def overridden(settings: "Settings", arguments: Sequence[str]) -> "Settings":
    """Return settings with overrides as they are typed."""
    if not arguments:
        return settings
    from dataclasses import asdict

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    from bagoftricks.cli.arguments import normalise_arguments
    from bagoftricks.cli.schema import settings_node, to_settings
    from bagoftricks.cli.text import escape

    config = OmegaConf.merge(settings_node(), escape(asdict(settings)))
    for override in OverridesParser.create().parse_overrides(normalise_arguments(list(arguments))):
        OmegaConf.update(config, override.key_or_group, override.value())
    return to_settings(config)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
