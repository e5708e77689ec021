"""The commands of documents, run as they stand in a folder that has nothing but the data they name.

What makes a run long is replaced: the numbers of epochs, seeds and images, and the size of the images. CIFAR-10, which
is downloaded, becomes the folder of photographs.
"""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(r"bot-\w+ |bot-\w+$|bagoftricks( |$)")
SMALL = {"epochs": "2", "data.limit": "200", "batch_size": "32", "runtime.progress": "false"}
PHOTOS = ["data=imagefolder", "data.root=photos", "image_size=32"]


def shell_lines(path):
    """Return the lines of the shell blocks of each section of a document, those that end in a backslash joined."""
    text = path.read_text(encoding="utf-8").replace("\\\n", "")
    found = {}
    for section in f"\n{text}".split("\n## "):
        blocks = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
        if lines := [line.strip() for line in blocks.splitlines() if line.strip()]:
            found[section.partition("\n")[0].strip("# ")] = lines
    return found


def sections(path):
    """Return our commands of each section of a document, as the words that a shell makes of them."""
    found = {
        title: [shlex.split(line, comments=True) for line in lines if OURS.match(line)]
        for title, lines in shell_lines(path).items()
    }
    return {title: lines for title, lines in found.items() if lines}


def other_lines(path):
    """Return the lines of the shell blocks of a document that are no commands of ours."""
    return [line for lines in shell_lines(path).values() for line in lines if not OURS.match(line)]


def shrunk(words, seeds=1):
    """Return a command that takes seconds; studies have this many seeds."""
    program, *arguments = words
    if any(word.startswith("extend=") for word in arguments):  # all else is as in the run, or the study, before
        small = ["epochs=4", "runtime.progress=false"] if program == "bot-train" else []
        return [program, *(word for word in arguments if not word.startswith("epochs=")), *small]
    if any(word.startswith("from=") for word in arguments):
        return words
    if program in ("bot-train", "bot-sweep"):
        small = SMALL | ({"seeds": str(seeds)} if program == "bot-sweep" else {})
        arguments = [word for word in arguments if word.partition("=")[0] not in small]
        arguments += [f"{key}={value}" for key, value in small.items()]
    if program in ("bot-train", "bot-sweep", "bot-data") and re.search(
        r"preset=|experiment=\w+/|data=cifar", str(words)
    ):
        given = {word.partition("=")[0] for word in arguments}
        arguments = [word for word in arguments if not word.startswith("data=cifar")]
        photos = PHOTOS[2:] if "data=list" in words else PHOTOS
        arguments += [word for word in photos if word.partition("=")[0] not in given]
    elif any(word.startswith(("data=", "model=")) for word in words) and program != "bot-bench":
        size = (
            "image_size=72" if program == "bot-eval" else PHOTOS[2]
        )  # not the small stem, which the file does not have
        arguments += [size] if not any("image_size" in given for given in arguments) else []
    if program == "bot-bench" and "measure=false" not in words:
        arguments.append("measure=false")
    return [program, *arguments]


def failures(bot, commands, seeds=1):
    """Run commands one after another, each shrunk; return those that failed with the last line that they said."""
    failed = []
    for words in commands:
        done = bot(*shrunk(words, seeds))
        if done.status:
            failed.append(f"{shlex.join(words)}: {done.err.strip().splitlines()[-1:]}")
    return failed


def fill_folder(folder):
    """Make photographs, ImageNet and files of weights in miniature, as the documents name them."""
    import timm
    from torchvision.models import resnet50

    for at in range(270):
        picture(folder / "photos" / ("val" if at % 4 == 0 else "train") / f"class{at % 3}" / f"{at}.jpg", at)
    for at in range(1000):
        for split in ("train", "val"):
            picture(folder / "imagenet" / split / f"n{at:04}" / "1.jpg", 2 * at + (split == "val"), side=8)
    picture(folder / "cat.jpg", 0)
    shutil.make_archive(str(folder / "photos"), "zip", folder / "photos" / "train")
    images = [path.relative_to(folder) for path in sorted((folder / "photos").rglob("*.jpg"))]
    rows = ["path,label,split", *(f"{path},{path.parts[2]},{path.parts[1]}" for path in images)]
    (folder / "labels.csv").write_text("\n".join(rows))
    torch.save(resnet50().state_dict(), folder / "resnet50.pth")
    save_file(timm.create_model("resnet50d").state_dict(), folder / "resnet50d.safetensors")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copytree(ROOT / "results" / "laptop" / "refinements", folder / "results" / "laptop" / "refinements")


def write_examples(path, folder):
    """Write the files that a document shows: blocks whose first line is a comment with the file's name."""
    text = path.read_text(encoding="utf-8")
    for block, name in re.findall(r"```\w+\n(# (\w+\.\w+)\n.*?)```", text, re.DOTALL):
        (folder / name).write_text(block, encoding="utf-8")


def picture(path, seed, side=40):
    """Write an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
