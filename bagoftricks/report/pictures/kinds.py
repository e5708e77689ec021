"""Names of the kinds of pictures, for help and completion: nothing is drawn, and no library loaded, to know them."""

STUDY_KINDS = {
    "forest": "paired differences with intervals and verdicts",
    "ladder": "scores of the arms in order, their differences, and the paper's numbers",
    "curves": "learning curves of every seed",
    "pareto": "accuracy against throughput and multiply-accumulates",
    "effects": "effects of a factorial design with intervals, and their matrix",
    "resolution": "the smallest difference that the study can find, by the number of seeds",
    "corruptions": "errors on corrupted images by severity and by corruption, with the intervals of their means",
}
RUN_KINDS = {
    "schedule": "learning rate, momentum and image size over the run, and when tricks act",
    "network": "diagram of the network, with the layers that the tricks added and removed",
    "images": "training images as the network sees them in several epochs",
}
