"""Bootstrap confidence intervals of mean average precision over the images."""

import warnings

import numpy as np

from yolojax.evaluation.average_precision import Matches, class_average_precision


def interval(matches: Matches, levels, *, resamples: int, seed: int) -> list[float] | None:
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
