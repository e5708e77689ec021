"""The commands: their purpose, and the lines to type first. Imports nothing that takes time."""

from typing import NamedTuple

Entries = tuple[tuple[str, str], ...]  # terms, or lines to type, with a text about each


class Command(NamedTuple):
    """One command."""

    about: str
    examples: Entries
    notes: tuple[str, ...] = ()
    arguments: tuple[str, str] = ("", "")  # file in cli/ and class of the arguments that are not settings of a run
    settings: bool = True  # takes the settings and tricks of a run
    words: Entries = ()  # that come first on the line, each with what it does


COMMANDS = {
    "bot-train": Command(
        "train one network with any set of tricks, and leave a record",
        (
            ("bot-train", "the baseline, on digits"),
            ("bot-train +tweak=resnet_d +refine=mixup", "two tricks"),
            ("bot-train '+refine=[cosine,mixup]' tricks.mixup.alpha=0.4 seed=3", ""),
            ("bot-train preset=cifar_laptop ~tricks.mixed_precision", "a preset but for one trick"),
            ("bot-train -m +tweak=resnet_b,resnet_c seed=0,1", "four runs"),
        ),
        (
            "The same command resumes an interrupted run. Exit status: 0 done, 2 wrong input, 1 a failure, "
            "75 interrupted.",
        ),
    ),
    "bot-sweep": Command(
        "train the runs of a study that are missing, then print its table",
        (
            ("bot-sweep experiment=bag_of_tricks/table5 scale=laptop seeds=3", ""),
            ("bot-sweep design=stack 'tricks=[resnet_d,mixup]' seeds=3..20 data=cifar10", ""),
            ("bot-sweep from=page.html data.root=FOLDER", "the runs of a page, here"),
        ),
        ("Any setting of bot-train holds for all arms. engine=NAME runs them on a cluster.",),
        ("sweep_arguments.py", "Sweep"),
    ),
    "bot-eval": Command(
        "evaluate a finished run, or a file of weights, without training",
        (
            ("bot-eval run=3f2a", "the run whose id begins with it"),
            ("bot-eval run=3f2a image_size=288 data.root=FOLDER", "on other images"),
            ("bot-eval run=3f2a corruptions=imagenet_c report=true", "robustness"),
            ("bot-eval weights=resnet50.pth model=resnet50 data=imagenet", ""),
            ("bot-eval run=last by_class=true confusion=matrix.png mistakes=worst.png", ""),
            ("bot-eval run=last export=flowers.onnx", "or .pt2, .safetensors"),
            ("bot-eval show=corruptions image=cat.jpg", "a picture"),
        ),
        ("Robustness is added to the record of the run, once (rerun=true: again); nothing else is.",),
        ("eval_arguments.py", "EvalArguments"),
    ),
    "bot-predict": Command(
        "predict the classes of images, or find their neighbours, with a finished run, or a file of weights",
        (
            ("bot-predict run=3f2a images=photos", "a folder, at any depth"),
            ("bot-predict run=last images=[a.jpg,more] top=5", "five classes each"),
            ("bot-predict run=3f2a images=photos format=csv > found.csv", ""),
            ("bot-predict run=3f2a images=photos show=sheet.png", "a picture too"),
            ("bot-predict run=3f2a images=photos gallery=shop top=3", "neighbours, of a run with task=retrieval"),
            ("bot-predict weights=w.pth model=resnet50 data=imagenet images=a.jpg", ""),
        ),
        (
            "Images are prepared as for the validation of the run. Those that cannot be read are named and left out "
            "(data.on_error=fail stops there).",
        ),
        ("predict.py", "PredictArguments"),
    ),
    "bot-bench": Command(
        "parameters, MACs, throughput, latency and memory of a network, without training",
        (
            ("bot-bench model=resnet50 +tweak=resnet_d", "at 224 pixels, 1000 classes"),
            ("bot-bench model=resnet50 format=json measure=false", "the counts alone"),
            ("bot-bench -m model=resnet18,resnet50 image_size=32 num_classes=10", ""),
            ("bot-bench experiment=assembled/table12", "next to a paper's numbers"),
        ),
        (
            "Throughput: batch 64, fp32, no data loading; latency: batch 1. Medians of synchronised repeats after a "
            "warm-up.",
        ),
    ),
    "bot-table": Command(
        "the records of a store as a table, or the table of a study",
        (
            ("bot-table", "results/runs, one row per run"),
            ("bot-table experiment=bag_of_tricks/table5 format=latex", ""),
            ("bot-table study=stack store=FOLDER", "a study by its name"),
            ("bot-table compare=page.html", "what of a study repeats here"),
            ("bot-table study=stack plot=forest file=forest.svg", "a picture of it"),
        ),
        (),
        ("table.py", "TableArguments"),
        settings=False,
    ),
    "bot-report": Command(
        "studies and runs as one page, a file to send",
        (
            ("bot-report study=stack file=stack.html", "a study"),
            ("bot-report study=[stack,factorial]", "two of them, in report.html"),
            ("bot-report store=FOLDER", "all studies and runs of a store"),
            ("bot-report study=stack serve=true", "in a browser, while the study runs"),
            ("bot-report study=stack figures=FOLDER", "the pictures as SVG files too"),
            ("bot-report plot=schedule file=s.svg run=last", "a picture of one run"),
            ("bot-report plot=network file=n.svg +tweak=resnet_d", "or of the settings of one"),
        ),
        ("The page needs no network, and shows commands, versions and digests, but no names of users or machines.",),
        ("report.py", "ReportArguments"),
        settings=False,
    ),
    "bot-runs": Command(
        "the runs of a store in every state: list, show, compare, delete, repeat, tidy up",
        (
            ("bot-runs list state=interrupted,failed", "list may be left out"),
            ("bot-runs show 3f2a", "the run whose id begins with it; last: the newest"),
            ("bot-runs diff 3f2a 9c41", ""),
            ("bot-runs delete 3f2a", "asks first"),
            ("bot-runs repeat 3f2a", "exit status 0: the same weights, bit for bit"),
            ("bot-runs prune plan=true", "what no run needs"),
        ),
        (),
        ("runs.py", "RunsArguments"),
        settings=False,
        words=(
            ("list", "all runs, the newest first, also interrupted and failed ones"),
            ("show", "settings, results, curve, costs, versions, files; how to resume"),
            ("diff", "what differs between two runs"),
            ("delete", "remove runs, after naming what depends on them"),
            ("repeat", "train a run again elsewhere and compare; data.root= and runtime.* can differ"),
            ("prune", "remove litter; with state=failed also failed runs"),
        ),
    ),
    "bot-data": Command(
        "a data set as a run would see it, and what is wrong with it",
        (
            ("bot-data data=imagefolder data.root=photos", "counts, sizes, broken files"),
            ("bot-data data=imagefolder data.root=photos show=sheet.png", "a picture too"),
            ("bot-data preset=cifar_laptop +refine=mixup format=json", ""),
        ),
        (
            "It takes the settings and tricks of a run, goes on after a broken file, and trains nothing. Exit status: "
            "0 nothing is wrong, 1 something is (a broken file, a class without images, an image in two classes or in "
            "both splits), 2 wrong input.",
        ),
        ("data.py", "DataArguments"),
    ),
}
SYNTAX: Entries = (
    ("+GROUP=TRICK", "switch a trick on, '+GROUP=[a,b]' several; GROUP: tweak, efficiency, refine or regularize"),
    ("tricks.TRICK.KEY=VALUE", "a hyper-parameter of a trick"),
    ("~tricks.TRICK", "without this trick of a preset"),
    ("KEY=VALUE", "a setting, or a choice: data=, model=, preset=, corruptions="),
    ("plugins=[FILE.py]", "add your own tricks, networks, data sets, loggers"),
    ("--config-dir DIR", "add your own YAML files"),
    ("-m", "one run for each combination of values with commas"),
    ("--cfg job", "show the composed settings, train nothing"),
)
TOPICS: Entries = (
    ("tricks", "all tricks, a line each; or one of them, as mixup"),
    ("data model preset corruptions", "what there is to choose; or one choice, as imagefolder"),
    ("settings loggers", "settings; or one of them, as lr; also runtime"),
    ("experiments designs", "the papers' tables, or one, as page/ladder; designs"),
    ("completion", "of commands, tricks and settings in bash, zsh and fish"),
)
COMPLETION: Entries = (
    ("bash", 'add to ~/.bashrc:  eval "$(bagoftricks completion bash)"'),
    ("zsh", 'add to ~/.zshrc, after compinit:  eval "$(bagoftricks completion zsh)"'),
    ("fish", "add to ~/.config/fish/config.fish:  bagoftricks completion fish | source"),
)
