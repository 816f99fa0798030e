"""Anchors from the boxes of a data set: k-means with IoU (YOLO9000 paper, "Dimension Clusters").

Plain NumPy: it runs once, before training.
"""

import numpy as np

from yolojax.ops.boxes import shape_iou

# (w, h) in cells of the /32 grid, from Darknet's .cfg files; *_2016 from those of 2016.
PUBLISHED_PRIORS = {
    "yolov2_voc": (
        (1.3221, 1.73145),
        (3.19275, 4.00944),
        (5.05587, 8.09892),
        (9.47112, 4.84053),
        (11.2364, 10.0071),
    ),
    "yolov2_voc_2016": (
        (1.08, 1.19),
        (3.42, 4.41),
        (6.63, 11.38),
        (9.42, 5.11),
        (16.62, 10.52),
    ),
    "yolov2_coco": (
        (0.57273, 0.677385),
        (1.87446, 2.06253),
        (3.33843, 5.47434),
        (7.88282, 3.52778),
        (9.77052, 9.16828),
    ),
    "yolov2_coco_2016": (
        (0.738768, 0.874946),
        (2.42204, 2.65704),
        (4.30971, 7.04493),
        (10.246, 4.59428),
        (12.6868, 11.8741),
    ),
    "yolo9000": (
        (0.77871, 1.14074),
        (3.00525, 4.31277),
        (9.22725, 9.61974),
    ),
}
PUBLISHED_PRIORS["yolov2_tiny_voc"] = PUBLISHED_PRIORS["yolov2_voc_2016"]
PUBLISHED_PRIORS["yolov2_tiny_coco"] = PUBLISHED_PRIORS["yolov2_coco"]

CENTRES = {"mean": np.mean, "median": np.median}
MAX_ROUNDS = 300  # the mean does not minimise 1 - IoU, so rounds may cycle
MAX_SHAPES = 50_000  # in the clustering; a larger set is sampled


def best_ious(shapes, anchors):
    """Compute the IoU [n] of every shape [n, 2] with the nearest anchor [k, 2]."""
    return shape_iou(shapes[:, None], np.asarray(anchors)[None]).max(axis=1)


def mean_iou(shapes, anchors) -> float:
    """Average `best_ious` over the shapes (paper, table 1)."""
    return float(best_ious(shapes, anchors).mean())


def kmeans(shapes, k, *, update="mean", restarts=10, seed=0):
    """Cluster `shapes` [n, 2] (w, h; any unit) into `k` anchors [k, 2], small to large.

    The result is the best of `restarts` runs by mean IoU. `update` is the centre of a cluster:
    "mean" as in k-means, or "median", which is more robust to outliers.

    Raises:
        ValueError: a shape is not positive, `update` is unknown, `restarts` is below 1, or `k`
            exceeds the number of distinct shapes.
    """
    if update not in CENTRES:
        raise ValueError(f"update must be one of {', '.join(CENTRES)}; got {update!r}.")
    if restarts < 1:
        raise ValueError(f"restarts must be 1 or more; got {restarts}.")
    key = np.random.default_rng(seed)
    shapes = _checked(shapes, k)
    if len(shapes) > MAX_SHAPES:
        shapes = shapes[key.choice(len(shapes), MAX_SHAPES, replace=False)]
    runs = [_lloyd(shapes, _spread(shapes, k, key), CENTRES[update]) for _ in range(restarts)]
    best = max(runs, key=lambda anchors: mean_iou(shapes, anchors))
    return best[np.argsort(best.prod(axis=1))]


def _checked(shapes, k):
    shapes = np.asarray(shapes, np.float64).reshape(-1, 2)
    if not (shapes > 0).all():
        bad = shapes[~(shapes > 0).all(axis=1)][0]
        raise ValueError(f"shapes must be positive (w, h); got {tuple(bad)}.")
    distinct = count_shapes(shapes)
    if not 1 <= k <= distinct:
        fewer = ": there are fewer shapes than anchors" if k > distinct else ""
        raise ValueError(
            f"k must be 1 to {distinct}, the number of distinct shapes; got {k}{fewer}."
        )
    return shapes


def count_shapes(shapes) -> int:
    """Count the distinct `shapes` [n, 2]; those that differ by less than 0.1 % are mostly one."""
    return len(np.unique(np.log(shapes).round(3), axis=0))


def _spread(shapes, k, key):
    """Choose `k` distant `shapes`: k-means++ (Arthur and Vassilvitskii 2007) with 1 - IoU."""
    chosen = shapes[key.integers(len(shapes))][None]
    while len(chosen) < k:
        distance = 1 - best_ious(shapes, chosen)
        weight = np.square(np.where(distance > 1e-12, distance, 0))
        if not weight.any():  # the rest equals the chosen up to rounding
            weight = np.ones(len(shapes))
        chosen = np.vstack([chosen, shapes[key.choice(len(shapes), p=weight / weight.sum())]])
    return chosen


def _lloyd(shapes, anchors, centre):
    """Alternate assignment to the nearest anchor and centring, until nothing changes."""
    nearest = None
    for _ in range(MAX_ROUNDS):
        previous, nearest = nearest, shape_iou(shapes[:, None], anchors[None]).argmax(axis=1)
        if previous is not None and (previous == nearest).all():
            break
        members = [shapes[nearest == i] for i in range(len(anchors))]
        anchors = np.stack(
            [centre(m, axis=0) if len(m) else a for m, a in zip(members, anchors, strict=True)]
        )
    return anchors
