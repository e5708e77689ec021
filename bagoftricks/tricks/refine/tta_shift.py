import torch.nn.functional as F

from bagoftricks.recipe.edits import Images, Logits, Predict, WrapPredict
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Jordan 2024, section 3.5 (arXiv:2404.00498)")
class TtaShift:
    """Test-time augmentation: the logits of each image and of two shifted views, up-left and down-right.

    w z(x) + (1 - w) (z(up left) + z(down right)) / 2, z the logits; the border is mirrored. With tta_flip every view is
    mirrored too, which gives airbench's six views. Inference costs three times as much (six with tta_flip),
    which the macs and the images per second of a record do not show.
    """

    pixels: int = 1
    """shift in pixels along both axes, less than the image's side"""
    weight: float = 0.5
    """weight w of the unshifted image, in [0, 1)"""

    def __post_init__(self) -> None:
        require(self, "pixels", self.pixels > 0, "positive (leave tta_shift out to shift nothing)")
        require(self, "weight", 0 <= self.weight < 1, "in [0, 1) (leave tta_shift out for 1)")

    def edits(self, task: Task) -> list[WrapPredict]:
        require(self, "pixels", self.pixels < task.image_size, f"less than the {task.image_size} pixels of an image")
        return [WrapPredict(wrap=self.shifted)]

    def shifted(self, predict: Predict) -> Predict:
        far, share = 2 * self.pixels, (1 - self.weight) / 2

        def mean(images: Images) -> Logits:
            height, width = images.shape[2:]
            padded = F.pad(images, (self.pixels,) * 4, mode="reflect")
            views = predict(padded[..., :height, :width]) + predict(padded[..., far:, far:])
            return self.weight * predict(images) + share * views

        return mean
