"""Two configurations on the same images: how far apart they are, and how sure that is.

Both runs see the same resampled images, so what makes an image easy or hard for both cancels, and
the interval of the difference is narrower than those of the two numbers.
"""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.evaluation.average_precision import Matches
from yolojax.evaluation.bootstrap import mean_average_precisions

ROWS = {  # metric -> (the matching it rests on, which of its IoU thresholds)
    "voc07_11pt": ("voc", slice(None)),
    "voc10": ("voc", slice(None)),
    "coco_AP": ("coco", slice(None)),
    "coco_AP50": ("coco", slice(0, 1)),
    "coco_AP75": ("coco", slice(5, 6)),
}


class Difference(NamedTuple):
    """One number of two configurations, in 0..1; NaN where it is not defined."""

    ours: float  # mean over our runs
    theirs: float
    difference: float  # ours - theirs
    interval: list[float] | None  # [low, high], 95 %, of the difference
    ours_std: float | None  # over the runs (n - 1); None with one run
    theirs_std: float | None
    above: float  # share of the resamples in which ours is larger; ties are halved
    covers: str  # what the interval takes to vary: "images", or "images and seeds"

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def paired_difference(
    ours: list[Matches], theirs: list[Matches], levels, *, resamples: int = 1000, seed: int = 0
) -> Difference:
    """The difference in mean AP of two configurations, each the runs of one or several seeds.

    Images are resampled (percentile bootstrap, 95 %); one draw of images serves all runs, and the
    mean over the runs is taken inside it. Where both lists have several runs, the interval also
    covers the seed: to the difference of a resample comes a draw of the error of a mean of n runs,
    std / sqrt(n) * t with n - 1 degrees of freedom. Resampling 3 seeds instead covers 75 % in
    place of 95 %, images alone nothing of it. What seeds and images do together then counts twice,
    so that the interval is rather too wide (as Owen, "The pigeonhole bootstrap", 2007, finds). With
    equally many runs the i-th of ours belongs to the i-th of theirs (the same seed); their
    differences are then what varies. A list of one run says nothing of seeds: images alone.

    Args:
        ours, theirs: matches of the same images in the same order, each at least one run.
        levels: of recall, as in `average_precision.average_precision`.
        resamples: of the images.
        seed: of all draws.

    Raises:
        ValueError: a list is empty, or the images or truths of two runs differ; names the first.
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
    """`paired_difference` of the AP of each of `classes` (names, in the order of the labels)."""
    check_same_images([*ours, *theirs] if ours and theirs else [])
    draw = np.random.default_rng(seed)
    weights = image_weights(len(ours[0].positives), resamples, draw)

    def of_class(label):
        only = ([_only(matches, label) for matches in runs] for runs in (ours, theirs))
        return _paired(*only, levels, weights, draw)

    return {name: of_class(label) for label, name in enumerate(classes)}


def accuracy_difference(ours, theirs, *, resamples: int = 1000, seed: int = 0) -> Difference:
    """The difference in accuracy of two runs of a classifier, from hits bool [n] of each.

    To draw n images again is to draw how many of them both, either and neither of the runs got.
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
    """How often each image counts -> int32 [1 + resamples, images]; in the first row once."""
    drawn = draw.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.concatenate([np.ones((1, images), int), drawn]).astype(np.int32)


def check_same_images(runs: Sequence[Matches]) -> None:
    """Raises ValueError, naming the first image that differs, unless all `runs` share theirs."""
    if not runs:
        raise ValueError("a paired difference needs a run on either side, got none on one.")
    for run in runs[1:]:
        if runs[0].ids and run.ids:
            _check_equal("id", runs[0].ids, run.ids)
        _check_equal("truths of each class", runs[0].positives, run.positives)


def _check_equal(what: str, a, b) -> None:
    if np.array_equal(a, b):
        return
    unequal = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if not np.array_equal(x, y))
    place = next(unequal, min(len(a), len(b)))
    values = " and ".join(repr(x[place]) if place < len(x) else "none" for x in map(list, (a, b)))
    raise ValueError(
        "runs must be evaluated on the same images in the same order, but the "
        f"{what} of image {place} is {values}."
    )


def _only(matches: Matches, label: int) -> Matches:
    """The part of `matches` that is of one class, as that of the only class there is."""
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
    """Draws of how far the mean over the seeds is from that over all seeds -> [size]."""
    varying = [ours - theirs] if len(ours) == len(theirs) else [ours, theirs]
    return sum(
        draw.standard_t(len(x) - 1, size) * x.std(ddof=1) / math.sqrt(len(x)) for x in varying
    )


def _difference(ours, theirs, resampled, covers: str) -> Difference:
    """From the numbers of the runs [n], [m] and the resampled differences [R], NaN left out."""
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
    """The matches from which `metric` is computed, of an eval/<name>_matches.npz.

    Its levels of recall are `evaluator.METRICS[metric][1]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown metric, or the file is not one that evaluation writes.
    """
    if metric not in ROWS:
        raise ValueError(f"metric must be one of {', '.join(ROWS)}, got {metric!r}.")
    kind, rows = ROWS[metric]
    names = ("scores", "labels", "images", f"{kind}_hits", f"{kind}_ignored", "positives", "ids")
    scores, labels, images, hits, ignored, positives, ids = _read_arrays(path, names)
    ids = tuple(ids.tolist())
    return Matches(scores, labels, images, hits[rows], ignored[rows], positives, ids)


def read_hits(path: str | Path, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hits bool [n] of `metric`, labels int [n], ids int [n]), of an eval/<name>_hits.npz.

    Raises as `read_matches`.
    """
    hits, labels, ids = _read_arrays(path, (metric, "labels", "ids"))
    return hits, labels, ids


def _read_arrays(path, names) -> list[np.ndarray]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; eval.py writes it beside its .json.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not what eval.py writes ({error}); run it again.") from error
