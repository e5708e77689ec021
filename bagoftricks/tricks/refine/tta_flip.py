from bagoftricks.recipe.edits import Images, Logits, Predict, WrapPredict
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Page 2019, How to Train Your ResNet 8: Bag of Tricks, test-time augmentation")
class TtaFlip:
    """Test-time augmentation: the mean of the logits of each image and of its mirror image.

    The mean is of logits, not of probabilities. Training is unchanged. Inference costs twice as much, but the macs and
    the images per second of a record are those of one pass: double the macs and halve the speed to compare with a
    network without the trick.
    """

    def edits(self, task: Task) -> list[WrapPredict]:
        return [WrapPredict(wrap=both_ways)]


def both_ways(predict: Predict) -> Predict:
    """Return a prediction that is the same for an image and its mirror image."""

    def mean(images: Images) -> Logits:
        return (predict(images) + predict(images.flip(3))) / 2

    return mean
