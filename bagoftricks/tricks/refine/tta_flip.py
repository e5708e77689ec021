from bagoftricks.recipe.edits import Images, Logits, Predict, WrapPredict
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Page 2019, How to Train Your ResNet 8: Bag of Tricks, test-time augmentation")
class TtaFlip:
    """Predict with the mean of the logits of each image and of its mirror image.

    The mean is of logits, not of probabilities. Training is left alone; inference costs twice as much, which the
    accuracies hide: the macs and the images per second of a record are of one pass, so count them double and halve
    them to compare with a network without it.
    """

    def edits(self, task: Task) -> list[WrapPredict]:
        return [WrapPredict(wrap=both_ways)]


def both_ways(predict: Predict) -> Predict:
    """The prediction that does not depend on left and right."""

    def mean(images: Images) -> Logits:
        return (predict(images) + predict(images.flip(3))) / 2

    return mean
