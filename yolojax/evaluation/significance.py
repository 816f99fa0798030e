"""Bootstrap over images: intervals of mean AP, and paired differences of two configurations.

In a paired difference, both configurations use the same resampled images. The difficulty of an
image, which affects both, cancels, so the interval is narrower than those of the two numbers.
"""

import math
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.evaluation.average_precision import Matches, class_average_precision

ROWS = {  # metric -> (its matching, its IoU thresholds)
    "voc07_11pt": ("voc", slice(None)),
    "voc10": ("voc", slice(None)),
    "coco_AP": ("coco", slice(None)),
    "coco_AP50": ("coco", slice(0, 1)),
    "coco_AP75": ("coco", slice(5, 6)),
}


class Difference(NamedTuple):
    """One metric of two configurations, in 0..1; NaN where it is not defined."""

    ours: float  # mean over our runs
    theirs: float
    difference: float  # ours - theirs
    interval: list[float] | None  # [low, high], 95 %, of the difference
    ours_std: float | None  # over the runs (n - 1); None with one run
    theirs_std: float | None
    above: float  # share of the resamples in which ours is larger; a tie counts as half
    covers: str  # sources of variation in the interval: "images" or "images and seeds"

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def bootstrap_interval(
    matches: Matches, levels, *, resamples: int, seed: int
) -> list[float] | None:
    """Compute the 95 % percentile bootstrap interval of the mean AP over images -> [low, high].

    Matching is per image, so a resample only changes how often each image counts. A class without
    ground-truth boxes in a resample is left out of its mean. None if there is nothing to resample.
    """
    images = len(matches.positives)
    if not resamples or not matches.positives.any():
        return None
    draw = np.random.default_rng(seed)
    weights = draw.multinomial(images, np.full(images, 1 / images), size=resamples)
    means = mean_average_precisions(matches, levels, weights.astype(np.int32))
    return np.nanpercentile(means, [2.5, 97.5]).tolist()


def mean_average_precisions(matches: Matches, levels, weights) -> np.ndarray:
    """Compute the mean AP over classes for each row of `weights` int [R, images] -> [R]."""
    precisions = class_average_precision(matches, levels, weights)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")  # a resample without boxes
        return np.nanmean(precisions, axis=1)


def paired_difference(
    ours: list[Matches], theirs: list[Matches], levels, *, resamples: int = 1000, seed: int = 0
) -> Difference:
    """Compute the difference in mean AP of two configurations with runs of one or several seeds.

    The interval is a 95 % percentile bootstrap over images. All runs use the same resample, and
    their mean is taken within it. If both lists have several runs, the interval also covers the
    seed: each resampled difference gets a draw of the error of a mean of n runs, std / sqrt(n) * t
    with n - 1 degrees of freedom. (Resampling 3 seeds would cover 75 % instead of 95 %.) The
    interaction of seeds and images is counted twice, which makes the interval too wide rather than
    too narrow (Owen, "The pigeonhole bootstrap", 2007). With equally many runs, run i of ours and
    run i of theirs are a pair with the same seed, and the differences of the pairs vary. If a list
    has one run, the interval covers images only.

    Args:
        ours, theirs: matches of the same images in the same order, at least one run each.
        levels: recall levels, as in `average_precision.recall_scale`.
        resamples: of the images.
        seed: of all draws.

    Raises:
        ValueError: a list is empty, or the images or ground-truth boxes of two runs differ; names
            the first that differs.
    """
    check_same_images([*ours, *theirs] if ours and theirs else [])
    draw = np.random.default_rng(seed)
    weights = image_weights(len(ours[0].positives), resamples, draw)
    return _paired(ours, theirs, levels, weights, draw)


def class_differences(
    ours: list[Matches],
    theirs: list[Matches],
    levels,
    classes: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compute `paired_difference` of the AP of each of `classes`, names in the order of labels."""
    check_same_images([*ours, *theirs] if ours and theirs else [])
    draw = np.random.default_rng(seed)
    weights = image_weights(len(ours[0].positives), resamples, draw)

    def of_class(label):
        only = ([_only(matches, label) for matches in runs] for runs in (ours, theirs))
        return _paired(*only, levels, weights, draw)

    return {name: of_class(label) for label, name in enumerate(classes)}


def accuracy_difference(ours, theirs, *, resamples: int = 1000, seed: int = 0) -> Difference:
    """Compute the difference in accuracy of two classifiers from their hits bool [n].

    A resample of n images is a draw of how many of them only ours, only theirs, or both or neither
    classify correctly.
    """
    ours, theirs = np.asarray(ours, bool), np.asarray(theirs, bool)
    n = len(ours)
    if not n:
        return _difference(np.array([math.nan]), np.array([math.nan]), np.zeros(0), "images")
    shares = [(ours & ~theirs).mean(), (theirs & ~ours).mean(), (ours == theirs).mean()]
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    resampled = (counts[:, 0] - counts[:, 1]) / n
    return _difference(*(hits.mean(keepdims=True) for hits in (ours, theirs)), resampled, "images")


def image_weights(images: int, resamples: int, draw: np.random.Generator) -> np.ndarray:
    """Draw how often each image counts -> int32 [1 + resamples, images]; the first row is ones."""
    drawn = draw.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.concatenate([np.ones((1, images), int), drawn]).astype(np.int32)


def check_same_images(runs: Sequence[Matches]) -> None:
    """Raise ValueError, naming the first image that differs, unless all `runs` have the same."""
    if not runs:
        raise ValueError("a paired difference needs at least one run on each side.")
    for run in runs[1:]:
        if runs[0].ids and run.ids:
            _check_equal("id", runs[0].ids, run.ids)
        _check_equal("number of objects of each class", runs[0].positives, run.positives)


def _check_equal(name: str, a, b) -> None:
    if np.array_equal(a, b):
        return
    unequal = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if not np.array_equal(x, y))
    index = next(unequal, min(len(a), len(b)))
    values = " and ".join(repr(x[index]) if index < len(x) else "none" for x in map(list, (a, b)))
    raise ValueError(
        "runs must be evaluated on the same images in the same order, but the "
        f"{name} of image {index} is {values}."
    )


def _only(matches: Matches, label: int) -> Matches:
    """Return the matches of one class, as class 0 of 1."""
    mine = matches.labels == label
    scores, labels, images = (x[mine] for x in (matches.scores, matches.labels, matches.images))
    hits, ignored = matches.hits[:, mine], matches.ignored[:, mine]
    one = matches.positives[:, label : label + 1]
    return Matches(scores, np.zeros_like(labels), images, hits, ignored, one, matches.ids)


def _paired(ours, theirs, levels, weights, draw) -> Difference:
    a, b = (
        np.stack([mean_average_precisions(matches, levels, weights) for matches in runs])
        for runs in (ours, theirs)
    )  # [runs, 1 + resamples]
    resampled = (a.mean(0) - b.mean(0))[1:]
    seeds = min(len(a), len(b)) > 1
    if seeds:
        resampled = resampled + _seed_errors(a[:, 0], b[:, 0], len(resampled), draw)
    return _difference(a[:, 0], b[:, 0], resampled, "images and seeds" if seeds else "images")


def _seed_errors(ours, theirs, size: int, draw) -> np.ndarray:
    """Draw the error of the mean over the seeds -> [size]."""
    varying = [ours - theirs] if len(ours) == len(theirs) else [ours, theirs]
    return sum(
        draw.standard_t(len(x) - 1, size) * x.std(ddof=1) / math.sqrt(len(x)) for x in varying
    )


def _difference(ours, theirs, resampled, covers: str) -> Difference:
    """Summarize the values of the runs [n], [m] and the resampled differences [R] without NaN."""
    defined = resampled[~np.isnan(resampled)]
    interval = np.percentile(defined, [2.5, 97.5]).tolist() if defined.size else None
    return Difference(
        float(ours.mean()),
        float(theirs.mean()),
        float(ours.mean() - theirs.mean()),
        interval,
        *(float(x.std(ddof=1)) if len(x) > 1 else None for x in (ours, theirs)),
        float((np.sign(defined).mean() + 1) / 2) if defined.size else math.nan,
        covers,
    )


def read_matches(path: str | Path, metric: str) -> Matches:
    """Read the matches from which `metric` is computed from an eval/<name>_matches.npz.

    The recall levels of the metric are `evaluator.METRICS[metric][1]`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: unknown metric, or the file was not written by an evaluation.
    """
    if metric not in ROWS:
        raise ValueError(f"metric must be one of {', '.join(ROWS)}, got {metric!r}.")
    kind, rows = ROWS[metric]
    names = ("scores", "labels", "images", f"{kind}_hits", f"{kind}_ignored", "positives", "ids")
    scores, labels, images, hits, ignored, positives, ids = _read_arrays(path, names)
    ids = tuple(ids.tolist())
    return Matches(scores, labels, images, hits[rows], ignored[rows], positives, ids)


def read_hits(path: str | Path, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read (hits bool [n] of `metric`, labels int [n], ids int [n]) from an eval/<name>_hits.npz.

    Raises as in `read_matches`.
    """
    hits, labels, ids = _read_arrays(path, (metric, "labels", "ids"))
    return hits, labels, ids


def _read_arrays(path, names) -> list[np.ndarray]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; eval.py writes it next to its .json.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not written by eval.py ({error}); run eval.py again.") from error
