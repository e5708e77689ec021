"""Picture of what a trick does, chosen by the kinds of its edits, so that a plug-in's trick has one too."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from bagoftricks.recipe import edits as e
from bagoftricks.report.pictures.drawing import Drawing, svg_text
from bagoftricks.report.pictures.style import styled
from docs.site.tricks import curves, data, images, parameters, parts, updates
from docs.site.tricks.scene import Subject, subject_of

PNG = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)")
COLOURS = 96
Draw = Callable[[Subject], Drawing | None]
# The first kind that a trick has chooses its picture; a kind of SetPart is its part.
KINDS: Sequence[tuple[object, Draw]] = (
    (e.SetOptimizer, updates.draw_descent),
    (e.MapImages, images.draw_policy),
    (e.MapBatch, images.draw_batch),
    (e.SetDecay, curves.draw_schedule),
    (e.SetWarmup, curves.draw_schedule),
    (e.SetTeacher, curves.draw_distillation),
    (e.SetLoss, curves.draw_loss),
    (e.MapTargets, curves.draw_targets),
    (e.SetPrecision, curves.draw_precision),
    (e.AverageWeights, updates.draw_average),
    (e.SetGradient, updates.draw_gradient),
    (e.MapGrads, updates.draw_gradient_norms),
    (e.WrapPredict, images.draw_views),
    (e.SetTestSize, images.draw_test_size),
    (e.SetFlip, data.draw_flips),
    (e.SetSampling, data.draw_sampling),
    (e.RepeatImages, data.draw_repeats),
    (e.SplitBatch, data.draw_split),
    (e.InitFromImages, parameters.draw_filters),
    (e.InitParams, parameters.draw_start),
    (e.SetNormMomentum, parameters.draw_running_mean),
    (e.ScaleParams, parameters.draw_rates),
    (e.FreezeParams, parameters.draw_frozen),
    (e.Part.ACT, parts.draw_activation),
    (e.Part.HEAD_POOL, parts.draw_pooling),
    (e.Part.NORM, parts.draw_norm),
    (e.Part.DROP, parts.draw_dropped_maps),
    (e.Part.BRANCH, parts.draw_dropped_branches),
    (e.Part.HEAD_DROP, parts.draw_dropped_features),
    (e.Part.LOGIT_SCALE, parts.draw_logit_scale),
    (e.SetPart, parts.draw_layers),
)


class Picture(NamedTuple):
    """Picture as a file, with the words for those who do not see it, and the caption below it."""

    svg: bytes
    alt: str
    caption: str


def with_small_images(svg: str) -> str:
    """Return an SVG whose images have a palette, which is a third as large."""
    return PNG.sub(lambda found: f"data:image/png;base64,{_with_palette(found[1])}", svg)


def _with_palette(encoded: str) -> str:
    image = Image.open(BytesIO(b64decode(encoded))).convert("RGB")
    made = BytesIO()
    image.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return b64encode(made.getvalue()).decode()


@cache
def picture_of(name: str) -> Picture | None:
    """Return the picture of a trick, None without one."""
    subject = subject_of(name)
    with styled():
        drawing = next((draw(subject) for kind, draw in KINDS if subject.has(kind)), None)
        if drawing is None:
            return None
        svg = with_small_images(svg_text(drawing)).encode()
    return Picture(svg, f"{drawing.title}. {drawing.description}", drawing.caption)
