"""Result of an evaluation on corrupted images, in words and numbers. Imports no torch."""

from statistics import mean

from bagoftricks.store.json_fields import Json

Result = Json


def reported_scores(result: Result) -> Result:
    """Return the scores of the average if there is exactly one, else of the last weights, as for clean images."""
    averaged = [scores for name, scores in result["copies"].items() if name != "last"]
    reported: Result = averaged[0] if len(averaged) == 1 else result["copies"]["last"]
    return reported


def of_weights(result: Result, weights: str) -> Result:
    """Return the scores of one weight set, with the facts of the evaluation."""
    about = {key: value for key, value in result.items() if key != "copies"}
    return {**about, **result["copies"][weights]}


def parts(scores: Result) -> dict[str, list[float]]:
    """Return errors at each severity by corruption, or the one flip probability by perturbation, in percent."""
    return dict(scores["errors"]) if "errors" in scores else {name: [flip] for name, flip in scores["flips"].items()}


def score(scores: Result, key: str) -> float | None:
    """Return ``mce``, ``relative_mce``, ``mfr``, or the mean error on the corruption of that name, in percent."""
    if key in scores.get("errors", ()):
        return float(mean(scores["errors"][key]))
    found = scores.get(key)
    return None if found is None else float(found)


def is_normalised(result: Result) -> bool:
    """Return True if the score is over another network's."""
    return bool(result["normaliser"] != "none")


def is_of_flips(result: Result) -> bool:
    """Return True if the score is of perturbations."""
    return bool(result.get("score") == "mfr")


def score_heading(result: Result, name: str) -> str:
    """Return the heading of the score: a mean error is no mCE, though papers call it so."""
    known = ("mFR", "flip probability") if is_of_flips(result) else ("mCE", "corruption error")
    return f"{known[0 if is_normalised(result) else 1]} % ({name})"


def describe_evaluation(result: Result, name: str) -> str:
    """Return one line with the images that the number was measured on."""
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
