"""What a record says of an evaluation on corrupted images, in words and numbers. Imports no torch."""

from statistics import mean
from typing import Any

Result = dict[str, Any]


def scored_copy(result: Result) -> Result:
    """What is said of the averaged weights where there is one average, else of the last ones, as for clean images."""
    averaged = [copy for name, copy in result["copies"].items() if name != "last"]
    copy: Result = averaged[0] if len(averaged) == 1 else result["copies"]["last"]
    return copy


def of_copy(result: Result, copy: str) -> dict[str, Any]:
    """What is said of one copy of the weights, with all that belongs to the evaluation."""
    about = {key: value for key, value in result.items() if key != "copies"}
    return {**about, **result["copies"][copy]}


def parts(copy: Result) -> dict[str, list[float]]:
    """Errors at each severity by corruption, or the one flip probability by perturbation, in percent."""
    return dict(copy["errors"]) if "errors" in copy else {name: [flip] for name, flip in copy["flips"].items()}


def score(copy: Result, key: str) -> float | None:
    """``mce``, ``relative_mce``, ``mfr``, or the mean error on the corruption of that name, in percent."""
    if key in copy.get("errors", ()):
        return float(mean(copy["errors"][key]))
    found = copy.get(key)
    return None if found is None else float(found)


def is_normalised(result: Result) -> bool:
    return bool(result["normaliser"] != "none")


def is_of_flips(result: Result) -> bool:
    return bool(result.get("score") == "mfr")


def score_heading(result: Result, name: str) -> str:
    """Of the column of the score: a mean error is no mCE, though papers call it so."""
    known = ("mFR", "flip probability") if is_of_flips(result) else ("mCE", "corruption error")
    return f"{known[0 if is_normalised(result) else 1]} % ({name})"


def describe_evaluation(result: Result, name: str) -> str:
    """One line that says what the number was measured on."""
    flips = is_of_flips(result)
    plural, single = ("flips", "flip probability") if flips else ("errors", "error")
    over = f"over {result['normaliser']}'s {plural}" if is_normalised(result) else f"mean {single}, not normalised"
    cells = "perturbations" if flips else "corruptions x 5 severities"
    if result["images"] == "stored":
        images = f"{result['count']:,} images of a stored set ({result['stored_digest']})"
    else:
        saved = f"re-saved as JPEG {result['jpeg_quality']}" if result["jpeg_quality"] else "not re-saved"
        constants = {"imagenet": "ImageNet's", "cifar": "CIFAR's"}[result["constants"]]
        made = "sequences made of" if flips else "generated"
        images = f"{result['count']:,} {made} images, {constants} constants, {saved}, seed {result['seed']}"
        images += f", frost: {result['frost']}" if "frost" in result else ""
    return f"{name}: {result['corruptions']} {cells}, {over}; {images}; {result['image_size']} pixels"
