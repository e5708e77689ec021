"""Completion: what fits the word at the cursor, and that real shells take it."""

import os
import pty
import re
import select
import shutil
import signal
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.cli.complete import candidates, complete, script, split_line
from bagoftricks.errors import UserError


@pytest.mark.parametrize(
    ("program", "words", "found"),
    [
        ("bot-train", ["+tweak=resnet_"], ["+tweak=resnet_b", "+tweak=resnet_c", "+tweak=resnet_d"]),
        ("bot-train", ["+refine=[mixup,cut"], ["+refine=[mixup,cutmix]", "+refine=[mixup,cutmix,"]),
        ("bot-train", ["-m", "+tweak=sk,ec"], ["+tweak=sk,eca"]),
        ("bot-train", ["+refine=mixup", "tricks."], ["tricks.mixup."]),
        ("bot-train", ["tricks.mixup.a"], ["tricks.mixup.alpha="]),
        ("bot-train", ["tricks.mixup.partner=h"], ["tricks.mixup.partner=halves"]),
        ("bot-train", ["data=imagef"], ["data=imagefolder"]),
        ("bot-train", ["data.crop=a"], ["data.crop=auto", "data.crop=area"]),
        ("bot-train", ["data.flip="], ["data.flip=true", "data.flip=false"]),
        ("bot-train", ["see"], ["seed="]),
        ("bot-train", ["runt"], ["runtime."]),
        ("bot-train", ["+ref"], ["+refine="]),
        ("bot-train", ["~tricks.mixu"], ["~tricks.mixup"]),
        ("bot-train", ["--ver"], ["--version"]),
        ("bot-train", ["--help", "imagef"], ["imagefolder"]),
        ("bot-train", ["model.widt"], ["model.widths=", "model.width="]),
        ("bot-sweep", ["experiment=page/l"], ["experiment=page/ladder"]),
        ("bot-sweep", ["design=f"], ["design=factorial", "design=fractional"]),
        ("bot-sweep", ["tricks=[cosine|big_l"], ["tricks=[cosine|big_little]", "tricks=[cosine|big_little,"]),
        ("bot-sweep", ["tricks=[mixup|cutmix,cosine]", "fold=[c"], ["fold=[cosine", "fold=[cutmix"]),
        ("bot-sweep", ["tricks=[mixup,cutm"], ["tricks=[mixup,cutmix]", "tricks=[mixup,cutmix,"]),
        ("bot-sweep", ["engine=l"], ["engine=local"]),
        ("bot-sweep", ["engine=local", "engine.s"], ["engine.slots_per_device="]),
        ("bot-sweep", ["engine.max_r"], ["engine.max_retries="]),
        ("bot-sweep", ["plan="], ["plan=true", "plan=false"]),
        ("bot-table", ["stu"], ["study="]),
        ("bot-table", ["plot=fo"], ["plot=forest"]),
        ("bot-table", ["+tw"], []),
        ("bagoftricks", ["completion", "f"], ["fish"]),
        ("bagoftricks", ["bot-t"], ["bot-train", "bot-table"]),
    ],
)
def test_what_fits_the_last_word(program, words, found):
    assert candidates(program, words) == found


def test_runs_studies_and_files_are_found_in_the_store_of_the_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ("ab12", "ab34", "cd56"):
        (tmp_path / "mine" / run).mkdir(parents=True)
        (tmp_path / "mine" / run / "record.json").touch()
    (tmp_path / "mine" / "abandoned").mkdir()
    (tmp_path / "mine" / "studies").mkdir()
    (tmp_path / "mine" / "studies" / "stack.json").touch()
    assert candidates("bot-eval", ["store=mine", "run=ab"]) == ["run=ab12", "run=ab34"]
    assert candidates("bot-train", ["store=mine", "tricks.distill.teacher=run:c"]) == [
        "tricks.distill.teacher=run:cd56"
    ]
    assert candidates("bot-eval", ["store=mine", "run=l"]) == ["run=last"]
    assert candidates("bot-table", ["store=mine", "study="]) == ["study=stack"]
    assert candidates("bot-train", ["data.root=mi"]) == ["data.root=mine/"]
    assert candidates("bot-eval", ["run="]) == []


def test_the_keys_of_rows_are_completed():
    assert candidates("bot-table", ["where=top1>70 data.lim"]) == ["where=top1>70 data.limit="]
    assert candidates("bot-table", ["sort=-params"]) == ["sort=-params"]
    assert candidates("bot-table", ["columns=[top1,hos"]) == ["columns=[top1,host]", "columns=[top1,host,"]
    assert candidates("bot-table", ["study=stack", "columns=[hos"]) == []
    assert "columns=mce" in candidates("bot-table", ["study=stack", "columns=m"])


def test_a_plugins_trick_is_completed(tmp_path):
    plugin = tmp_path / "mine.py"
    source = '@trick(paper="", family="tweak")\nclass SoftSign:\n    """S."""\n'
    plugin.write_text(f"from bagoftricks.plugins import trick\n\n{source}")
    assert candidates("bot-train", [f"plugins=[{plugin}]", "+tweak=soft"]) == ["+tweak=soft_sign"]
    assert candidates("bot-train", ["plugins=[nowhere.py]", "+tweak=sof"]) == []


def test_bash_is_given_what_it_replaces():
    assert complete("bot-train", ["bash", "bot-train +tweak=big", "big"]) == "big_little"
    assert (
        complete("bot-train", ["bash", "bot-train '+tweak=[big", "+tweak=[big"])
        == "+tweak=[big_little]\n+tweak=[big_little,"
    )
    assert complete("bot-train", ["bash", "bot-train tricks.mixup.al", "tricks.mixup.al"]) == "tricks.mixup.alpha="


@given(st.text("ab '\"\\=:[]\t", max_size=12))
def test_any_line_can_be_completed(line):
    words, _ = split_line(line)
    assert words
    complete("bot-table", ["bash", f"bot-table {line}", words[-1]])
    complete("bot-table", ["bash", line])


def test_another_shell_is_named_with_what_to_type():
    with pytest.raises(UserError, match=r"completion bsah: is not known; did you mean 'bash'\? \(bash: add to"):
        script("bsah")


def type_into(shell, setup, typed, folder):
    """Type lines into an interactive shell, pausing after each tab; return what it shows."""
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "xterm", "HOME": str(folder)}
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(shell[0], shell, environment)
    shown = b""

    def read_until(wanted, seconds):
        nonlocal shown
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (wanted and wanted in shown):
            if select.select([terminal], [], [], 0.05)[0]:
                found = os.read(terminal, 65536)
                if b"\x1b[c" in found or b"\x1b[0c" in found:  # fish asks for the attributes of its terminal
                    os.write(terminal, b"\x1b[?62;22c")
                shown += found

    os.write(terminal, f"{setup}; echo REA''DY\n".encode())
    read_until(b"READY", 30)
    for line, expected in typed:
        for part in re.split("(\t)", line):
            os.write(terminal, part.encode())
            read_until(b"", 2.0 if part == "\t" else 0.1)
        os.write(terminal, b"\r")
        read_until(f"<{expected}>".encode(), 20)
    os.close(terminal)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return shown.decode(errors="replace")


SHELL_LINES = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(bagoftricks completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(bagoftricks completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "bagoftricks completion fish | source"),
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELL_LINES)
def test_shells_complete_tricks_settings_runs_and_paths(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    for command, module in {"bot-train": "train", "bot-eval": "eval", "bagoftricks": "overview"}.items():
        file = tmp_path / command  # answers the shell, and prints its arguments otherwise
        file.write_text(
            f'#!/bin/sh\ncase "$1" in --complete|completion) exec {sys.executable} -m bagoftricks.cli.{module} "$@";; '
            'esac\nfor a; do echo "<$a>"; done\n'
        )
        file.chmod(0o755)
    (tmp_path / "runs" / "ab12").mkdir(parents=True)
    (tmp_path / "runs" / "ab12" / "record.json").touch()
    (tmp_path / "my folder").mkdir()
    typed = [
        ("bot-train +tw\tbig\t", "+tweak=big_little"),
        ("bot-train '+refine=[mixup,cutm\t]'", "+refine=[mixup,cutmix]"),
        ("bot-train tricks.mixup.al\t0.4", "tricks.mixup.alpha=0.4"),
        (f"bot-eval store={tmp_path}/runs run=ab\t", "run=ab12"),
        (f"bot-train data.root={tmp_path}/my\tx", f"data.root={tmp_path}/my folder/x"),
    ]
    shown = type_into(*SHELL_LINES[shell], typed, tmp_path)
    assert [expected for _, expected in typed if f"<{expected}>" not in shown] == []
