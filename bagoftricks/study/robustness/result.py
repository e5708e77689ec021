"""What a record says of an evaluation on corrupted images, in words and numbers. Imports no torch."""

from collections.abc import Mapping
from statistics import mean
from typing import Any

Result = Mapping[str, Any]


def scored_copy(result: Result) -> Result:
    """What is said of the averaged weights where there is one average, else of the last ones, as for clean images."""
    averaged = [copy for name, copy in result["copies"].items() if name != "last"]
    copy: Result = averaged[0] if len(averaged) == 1 else result["copies"]["last"]
    return copy


def of_copy(result: Result, copy: str) -> dict[str, Any]:
    """What is said of one copy of the weights, with all that belongs to the evaluation."""
    about = {key: value for key, value in result.items() if key != "copies"}
    return {**about, **result["copies"][copy]}


def score(copy: Result, key: str) -> float | None:
    """``mce``, ``relative_mce`` or the mean error on the corruption of that name, in percent."""
    if key in copy["errors"]:
        return float(mean(copy["errors"][key]))
    found = copy.get(key)
    return None if found is None else float(found)


def is_normalised(result: Result) -> bool:
    return bool(result["normaliser"] != "none")


def heading(result: Result, name: str) -> str:
    """Of the column of the score: a mean error is no mCE, though papers call it so."""
    return f"{'mCE' if is_normalised(result) else 'corruption error'} % ({name})"


def describe(result: Result, name: str) -> str:
    """One line that says what the number was measured on."""
    over = f"over {result['normaliser']}'s errors" if is_normalised(result) else "mean error, not normalised"
    if result["images"] == "stored":
        images = f"{result['count']:,} images of a stored set ({result['stored_digest']})"
    else:
        saved = f"re-saved as JPEG {result['jpeg_quality']}" if result["jpeg_quality"] else "not re-saved"
        constants = {"imagenet": "ImageNet's", "cifar": "CIFAR's"}[result["constants"]]
        images = (
            f"{result['count']:,} generated images, {constants} constants, {saved}, seed {result['seed']}, "
            f"frost: {result['frost']}"
        )
    return (
        f"{name}: {result['corruptions']} corruptions x 5 severities, {over}; {images}; {result['image_size']} pixels"
    )
