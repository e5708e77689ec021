"""The catalogue's table of contents: one line per trick, with its family (a Hydra config group).

The trick itself is ``tricks/<family>/<name>.py``. Nothing is imported here: ``bagoftricks.catalogue`` reads the
hyper-parameters from the source and imports a trick when it is used.
"""

FAMILIES = {
    "tweak": "that change the network",
    "efficiency": "for faster or larger-batch training",
    "refine": "of the training procedure",
    "regularize": "against over-fitting",
}

FAMILY_OF = {
    "resnet_b": "tweak",
    "resnet_c": "tweak",
    "resnet_d": "tweak",
    "linear_scaling": "efficiency",
    "warmup": "efficiency",
    "zero_gamma": "efficiency",
    "no_bias_decay": "efficiency",
    "mixed_precision": "efficiency",
    "cosine": "refine",
    "label_smoothing": "refine",
    "mixup": "refine",
    "cutout": "regularize",
}
