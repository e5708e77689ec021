"""``--help``: every group, trick and setting, answered without Hydra or torch."""

import ast
import platform
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from bagoftricks import __version__, settings
from bagoftricks.cli.conf import YAML_GROUPS, options
from bagoftricks.registry import all_cards, fields_of
from bagoftricks.tricks import FAMILIES
from bagoftricks.tricks.catalogue import cards

USAGE = {
    "bot-train": """bot-train: train one network with any combination of tricks, and leave a record.

usage:
  bot-train +tweak=resnet_d +refine=mixup                    on the embedded digits, in a minute
  bot-train '+tweak=[resnet_d]' '+refine=[cosine,mixup]' tricks.mixup.alpha=0.4 seed=3
  bot-train preset=bag_of_tricks data.root=FOLDER            the papers' setting
  bot-train -m '+tweak=resnet_b,resnet_c,resnet_d' seed=0,1  several runs
  bot-train ... ~tricks.mixup                                a preset's or an earlier choice without one trick
  bot-train ... runtime.devices=8                            on eight GPUs, with the result of one; under torchrun too
  bot-train ... corruptions=cifar10_c                        the error on corrupted images too, of a finished run alone

  +group=a or '+group=[a,b]' switches tricks on, group=[a] replaces a preset's; key=value changes a setting.
  plugins=[my_tricks.py] and --config-dir DIR, on any command, add your own tricks, networks, data sets and YAML files.
  -m runs every combination of the values given with commas; --cfg job shows the composed settings, trains nothing.
  An interrupted or killed run resumes with the same command (rerun=true: from the beginning).
  Exit status: 0 done, 2 wrong input, 1 a failure, 75 interrupted.""",
    "bot-bench": """bot-bench: parameters, MACs, throughput, latency and memory of a network, without training.

usage:
  bot-bench model=resnet50 +tweak=resnet_d
  bot-bench model=resnet50 format=json measure=false         params and macs alone
  bot-bench -m 'model=resnet18,resnet50' image_size=32 num_classes=10
  bot-bench experiment=assembled/table12                     the rows of a paper's table, its numbers next to ours

  224 pixels and 1000 classes, as in the papers, unless image_size=, num_classes= or data= are given.
  Throughput: batch 64, fp32, no data loading; latency: batch 1. Medians of synchronised repeats after a warm-up.""",
    "bot-eval": """bot-eval: evaluate a finished run, or a file of weights, without training.

usage:
  bot-eval run=3f2a                                          the run whose id begins with it, its averaged weights too
  bot-eval run=3f2a image_size=288 data.root=FOLDER          its weights on larger images, or on other data
  bot-eval run=3f2a export=mine.safetensors naming=torchvision
  bot-eval weights=resnet50.pth model=resnet50 +tweak=resnet_b data=imagefolder data.root=FOLDER
  bot-eval run=3f2a corruptions=imagenet_c report=true       robustness, added to the run's record; all its errors
  bot-eval show=corruptions image=cat.jpg                    a picture of the corruptions: corruptions.png

  run=          a run of store=; with it, only data.*, runtime.*, corruptions, image_size, rerun, store and format can
                be set. Robustness is added to the record once (rerun=true: again); nothing else is recorded
  weights=      a file in our names, torchvision's or timm's: .safetensors, or a state dict of torch.save
  weight_set=ema  of a run, one weight set alone; last is the trained one
  report=true   with corruptions=, the error on every corruption at every severity
  show=corruptions image=FILE out=FILE.png   all corruptions x severities of an image, at image_size=224; with
                corruptions=NAME as that protocol has them
  export=       write the weights to this .safetensors file as well; naming=torchvision for the names of torchvision and
                timm, naming=ours (the default)""",
    "bot-sweep": """bot-sweep: train the runs of a study that are missing, then print its table.

usage:
  bot-sweep experiment=bag_of_tricks/table5 scale=laptop seeds=3
  bot-sweep design=stack 'tricks=[resnet_d,cosine,mixup]' seeds=3 data=cifar10 epochs=10
  bot-sweep design=factorial 'tricks=[cosine,mixup(alpha=0.4),label_smoothing]' plan=true

what to run
  experiment=NAME      rows of a paper's table, or your own YAML; scale=laptop or scale=paper
  design=NAME          stack, one_at_a_time, leave_one_out, factorial, fractional, arms or greedy
  tricks=[a,b]         the tricks of the design, with hyper-parameters as a(key=value); for arms: sets such as a+b
  seeds=3              seeds 0, 1, 2 of every arm; seeds=[0,7] names them
  max_tricks=K         factorial: only sets of up to K tricks
  max_arms=512         refuse a design of more arms
  runs=N resolution=R  fractional: arms, or the resolution, that are wanted
  floor=IMAGES_PER_S   greedy: refuse tricks that make inference slower than this
  metric=time_to_accuracy target=0.94
                       judge by the seconds in training to this share of right answers, as DAWNBench does
  price_per_hour=2.5   of the device: show what training and 10,000 predictions cost
  name=NAME            the study's name; default: the experiment or the design
  KEY=VALUE            any setting of bot-train, for all arms: data=, model=, preset=, epochs=, store=, ...

how to run it
  plan=true            print every run with its state and the time left, start nothing
  slots=1              runs at a time, each in a process of its own; 0: one after another in this process
  time_limit=SECONDS   end a run that takes longer, as failed
  retry=failed         train failed runs again
  hydra/launcher=NAME  joblib, submitit_slurm, submitit_local or ray instead of own processes, slots=K jobs at a time
                       (pip install 'bagoftricks[joblib]', [slurm] or [ray]); hydra.launcher.KEY=VALUE configures it
  skip=true            leave out arms whose tricks conflict, instead of stopping
  format=text          of the table: text, markdown, csv, latex or json""",
    "bot-table": """bot-table: the records of a store as a table, one row per run, or the table of a study.

usage:
  bot-table                                           results/runs, as Markdown, one row per run
  bot-table experiment=bag_of_tricks/table5 scale=laptop format=latex
  bot-table study=stack store=FOLDER                  a study of bot-sweep by its name

settings:
  experiment=NAME      the study that bot-sweep made of an experiment, at scale=laptop (the default) or scale=paper
  study=NAME           the study of that name
  columns=[top1,macs]  of the table: top1, top5, loss, ece, params, macs, train_images_per_s, infer_images_per_s,
                       latency_ms, peak_memory_mib, train_seconds and time_to_accuracy (of a study), wall_seconds; mce,
                       relative_mce, mfr, or the name of a corruption, for runs that were evaluated on corrupted images
  metric=time_to_accuracy target=0.94
                       the seconds in training to this share of right answers, as DAWNBench counts them
  price_per_hour=2.5   of the device: what training and 10,000 predictions cost
  store=results/runs   folder of the records
  format=markdown      text, markdown, csv, latex or json (an array of rows, alone on standard output)""",
}
SHORT = ("bot-sweep", "bot-table")  # without the list of all tricks and settings


def information(program: str, arguments: Sequence[str]) -> str | None:
    """Return what --version or --help prints, None for a command to carry out."""
    if "--version" in arguments:
        return version_text(program)
    if {"-h", "--help"} & set(arguments):
        from bagoftricks.cli.extend import extend

        extend(arguments)
        return text(program)
    return None


def version_text(program: str) -> str:
    """Return the versions that a report of a fault needs."""
    from importlib.metadata import version

    return f"{program}: bagoftricks {__version__}, torch {version('torch')}, Python {platform.python_version()}"


def text(program: str) -> str:
    """Return the whole help of a command."""
    sections = [USAGE[program]]
    if program in SHORT:
        return sections[0]
    for family, about in FAMILIES.items():
        if options(family):
            sections.append(f"{family}: tricks {about}  (+{family}=...)" + "".join(_tricks(family)))
    for group, about in YAML_GROUPS.items():
        sections.append(f"{group}: {about}" + "".join(f"\n  {name:18} {line}" for name, line in options(group).items()))
    sections.append("settings" + "".join(_settings()))
    return "\n\n".join(sections)


def _tricks(family: str) -> list[str]:
    lines = []
    for trick in cards():
        if trick.family == family:
            lines.append(f"\n  {trick.name:18} {trick.summary}\n  {'':18}   [{trick.paper}]")
            lines += [f"\n  {'':18}   tricks.{trick.name}.{f.name}={f.default}: {f.doc}" for f in trick.fields]
    return lines


def _settings() -> list[str]:
    source = ast.parse(Path(settings.__file__).read_text(encoding="utf-8"))
    classes = {node.name: fields_of(node) for node in source.body if isinstance(node, ast.ClassDef)}
    lines = []
    for prefix, name in GROUPS.items():
        lines += [_line(f"{prefix}{field.name}", field.default, field.doc) for field in classes[name] if field.doc]
        for of, (group, _, _) in settings.CHOSEN_BY.items():
            if prefix == f"{group}.":
                lines += _own_settings(of, group)
    return lines


def _own_settings(of: str, group: str) -> list[str]:
    """Return the settings that single data sets or networks have."""
    return [
        _line(f"{group}.{field.name}", field.default, f"{field.doc} ({group}={card.name})")
        for card in all_cards(of).values()
        for field in card.fields
    ]


def _line(name: str, default: object, doc: str) -> str:
    return "\n" + fill(f"{f'{name}={_typed(default)}':34} {doc}", 118, initial_indent="  ", subsequent_indent=" " * 37)


GROUPS = {
    "": "Settings",
    "data.": "DataSettings",
    "model.": "ModelSettings",
    "runtime.": "RuntimeSettings",
    "corruptions.": "CorruptionSettings",
}


def _typed(value: object) -> str:
    """Return a default as it is typed on the command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value).replace(" ", "")
