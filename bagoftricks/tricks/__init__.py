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
    "big_little": "tweak",
    "se": "tweak",
    "eca": "tweak",
    "sk": "tweak",
    "anti_alias": "tweak",
    "gem": "tweak",
    "early_pool": "tweak",
    "celu": "tweak",
    "ghost_norm": "tweak",
    "frozen_norm_scale": "tweak",
    "patch_whitening": "tweak",
    "linear_scaling": "efficiency",
    "warmup": "efficiency",
    "zero_gamma": "efficiency",
    "no_bias_decay": "efficiency",
    "mixed_precision": "efficiency",
    "bias_scale": "efficiency",
    "cosine": "refine",
    "label_smoothing": "refine",
    "mixup": "refine",
    "tta_flip": "refine",
    "dropblock": "regularize",
    "stochastic_depth": "regularize",
    "dropout": "regularize",
    "autoaugment": "regularize",
    "randaugment": "regularize",
    "trivialaugment": "regularize",
    "augmix": "regularize",
}
