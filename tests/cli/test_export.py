"""Networks in files for other programs, as bot-eval writes them and as docs/predict.md reads them."""

import json
import re
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.errors import DataError
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import SetPart, WrapPredict
from bagoftricks.run import exporting
from bagoftricks.training.trainer import predictor
from bagoftricks.tricks.catalogue import cards, create
from tests.cli.test_commands import FAST, one_line
from tests.cli.test_eval import the_json
from tests.helpers import FITTING, KEY, NETWORKS, TINY, make_task

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "predict.md"
ONNX_EXAMPLE, PT2_EXAMPLE = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def trained(train_once):
    return train_once("+refine=mixup", *FAST)


@pytest.fixture
def photo(tmp_path):
    """A photograph, turned by its EXIF, whose sides the network's size divides."""
    pixels = KEY.fold("photo").numpy().integers(0, 256, (8, 12, 3), np.uint8)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", "PNG", exif=turned)
    return "photo.jpg"


@pytest.mark.slow
def test_a_file_of_onnx_predicts_like_bot_predict_by_the_example_of_the_document(bot, trained, photo):
    done = bot("bot-eval", "run=last", "export=flowers.onnx", "format=json")
    assert (
        "flowers.onnx holds the network, with classes and preprocessing; checked on 8 validation images in" in done.err
    )
    assert the_json(done)["top1"] == trained["metrics"]["last"]["top1"]
    with redirect_stdout(StringIO()) as printed:
        exec(compile(ONNX_EXAMPLE, "predict.md", "exec"), {})
    name, share = printed.getvalue().split()
    (image,) = json.loads(bot("bot-predict", "run=last", f"images={photo}", "format=json").out)["images"]
    assert (name, float(share)) == (image["class"], pytest.approx(image["probability"], abs=1e-5))


def test_a_pt2_gives_the_logits_of_the_network_by_the_example_of_the_document(bot, trained):
    assert bot("bot-eval", "run=last", "export=flowers.pt2").status == 0
    names = {}
    exec(compile(PT2_EXAMPLE, "predict.md", "exec"), names)
    about = names["about"]
    assert (about["classes"], about["image_size"], about["short_side"]) == ([*"0123456789"], 8, 8)
    assert (about["run"], about["weights"], about["tricks"]) == (trained["id"], "last", ["mixup"])
    assert about["mean"] == [78, 78, 78]
    assert names["logits"].shape == (1, 10)


@pytest.mark.slow
def test_a_network_without_its_data_is_exported_and_not_evaluated(bot, trained, tmp_path, monkeypatch):
    def missing(settings):
        raise DataError("data.root=photos: no such folder")

    monkeypatch.setattr("bagoftricks.run.evaluation.find_dataset", missing)
    done = bot("bot-eval", "run=last", "export=out.safetensors")
    assert (done.status, done.out) == (0, "")
    assert done.err.splitlines()[-1] == "bot-eval: exported, but not evaluated: data.root=photos: no such folder"
    assert (tmp_path / "out.safetensors").is_file()
    assert "data.root=photos" in one_line(bot("bot-eval", "run=last"))
    assert bot("bot-eval", "run=last", "export=out.pt2").err.count("checked on 8 random images") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export=a.txt"], "export=a.txt: the name must end in .safetensors, .onnx, .pt2"),
        (["export=a.pt2", "naming=torchvision"], "naming=torchvision: names the tensors of a .safetensors file"),
        (["export=a.onnx"], "export=a.onnx: needs onnx and onnxscript: pip install 'bagoftricks[onnx]'"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(bot, trained, arguments, message, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    assert message in one_line(bot("bot-eval", "run=last", *arguments))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda images: torch.zeros(len(images), 10), "not written, for its logits differ from the network's by"),
        (lambda images: torch.full((len(images), 10), torch.nan), "not written, for its logits differ"),
    ],
)
def test_a_file_whose_logits_differ_is_not_written(bot, trained, tmp_path, monkeypatch, run, message):
    monkeypatch.setattr(exporting, "_pt2", lambda network, images, text: (b"", run, ""))
    assert message in one_line(bot("bot-eval", "run=last", "export=a.pt2"))
    assert not (tmp_path / "a.pt2").exists()


def test_what_an_exporter_raises_is_one_line(bot, trained, monkeypatch):
    def fail(network, images, text):
        raise RuntimeError("Unsupported operator\nwith a long story")

    monkeypatch.setattr(exporting, "_pt2", fail)
    message = "export=a.pt2: PyTorch cannot export this network (Unsupported operator): type another format"
    assert message in one_line(bot("bot-eval", "run=last", "export=a.pt2"))


@pytest.mark.parametrize("name", ["tta_flip", "tta_shift"])
def test_test_time_augmentation_is_in_the_file(name):
    recipe = compose({name: create(name)}, make_task())
    model = build_model(TINY, recipe.parts, num_classes=5, image_size=16).eval()
    images = torch.randn(4, 3, 16, 16, generator=KEY.fold("images").generator())
    logits = exporting.ExportedNetwork(model, recipe)(images)
    assert torch.equal(logits, predictor(recipe, model)(images))
    assert not torch.equal(logits, model(images))


def built() -> list[str]:
    """Return the tricks that build a part of the network, or predict in their own way."""
    made = {c.name: create(c.name, **FITTING.get(c.name, {})) for c in cards() if c.name != "distill"}
    edits = {name: trick.edits(make_task()) for name, trick in made.items()}
    return [name for name, of in edits.items() if any(isinstance(edit, SetPart | WrapPredict) for edit in of)]


NETWORK_TRICKS = built()
EXPORTS = [(name, exporting._pt2) for name in NETWORK_TRICKS] + [(n, exporting._onnx) for n in NETWORK_TRICKS[1::3]]
LONG = [(name, exporting._onnx) for name in NETWORK_TRICKS if (name, exporting._onnx) not in EXPORTS]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make"), [*EXPORTS, *(pytest.param(*pair, marks=pytest.mark.long) for pair in LONG)])
def test_networks_of_all_tricks_are_exported_for_any_batch(name, make):
    spec, pixels = NETWORKS[{"big_little": 1, "early_pool": 2}.get(name, 0)]
    recipe = compose({name: create(name, **FITTING.get(name, {}))}, make_task(image_size=pixels))
    model = build_model(spec, recipe.parts, num_classes=5, image_size=pixels)
    network = exporting.ExportedNetwork(model, recipe).eval().requires_grad_(False)
    images = torch.randn(4, 3, pixels, pixels, generator=KEY.fold("images").generator())
    with exporting._one_line("file"):
        _, run, _ = make(network, images, "{}")
    for count in (4, 1, 3):
        torch.testing.assert_close(run(images[:count]), network(images[:count]), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_onnx_is_checked_in_the_reference_without_onnxruntime(bot, trained, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    done = bot("bot-eval", "run=last", "export=flowers.onnx")
    assert "in onnx's slow reference (onnxruntime is not installed)" in done.err
