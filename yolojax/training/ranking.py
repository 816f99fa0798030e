"""Which checkpoint is the best: by one metric on one data set.

The score of a checkpoint is stored with its ranking, {name: value} of all that changes the number.
Scores of different rankings are never compared.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from yolojax.config import Config, flatten, to_dict
from yolojax.json_files import is_number, to_json

UNSCORED = -1.0  # metric of a checkpoint saved between two evaluations: never the best
DATA_FIELDS = ("val", "map", "val_map", "image_size", "letterbox", "resize", "classifier_view")
NOT_IN_NUMBER = ("every_images", "batch_size", "bootstrap", "seen", "seen_map")  # of config.eval


class Scored(NamedTuple):
    """A checkpoint that was evaluated."""

    step: int
    score: float
    ranking: dict  # empty if it is not known: it fits any other


def ranking_of(config: Config, val: dict | None = None) -> dict:
    """Return what the score of a checkpoint depends on besides its parameters.

    Args:
        config: of the run.
        val: the fingerprint of config.data.val; None if it is not known.
    """
    fields = to_dict(config)
    chosen = {
        "data": {name: fields["data"][name] for name in DATA_FIELDS},
        "eval": {k: v for k, v in fields["eval"].items() if k not in NOT_IN_NUMBER},
    }
    return flatten(chosen) | ({"annotations of data.val": val["digest"]} if val else {})


def scored(step: int, metrics: Any) -> Scored | None:
    """Return the Scored of a checkpoint with the Orbax `metrics`; None if it was not evaluated."""
    values = metrics if isinstance(metrics, dict) else {}
    score, own = values.get("score"), values.get("ranking")
    if not is_number(score) or score <= UNSCORED:
        return None
    return Scored(step, score, own if isinstance(own, dict) else {})


def is_same(a: dict, b: dict) -> bool:
    """Return whether scores of two rankings may be compared."""
    return not differences(a, b)


def differences(a: dict, b: dict) -> list[tuple[str, Any, Any]]:
    """List (name, value in `a`, value in `b`) of the names that both have.

    Only one has a name that another version of yolojax does not know.
    """
    return [(name, a[name], b[name]) for name in a if name in b and a[name] != b[name]]


def best(checkpoints: Sequence[Scored]) -> Scored | None:
    """Return the best of the newest ranking; the newest of several with its score."""
    if not checkpoints:
        return None
    newest = max(checkpoints, key=lambda one: one.step)
    same = [one for one in checkpoints if is_same(one.ranking, newest.ranking)]
    return max(same, key=lambda one: (one.score, one.step))


class BestOfEachRanking:
    """A preservation policy of Orbax: keep the best checkpoint of each ranking.

    That of an older ranking is the best again if a run returns to its metric and data.
    """

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Return whether to keep each of `checkpoints`, which have a step and metrics."""
        kept = {one.step for one in _best_of_each(scored(c.step, c.metrics) for c in checkpoints)}
        return [checkpoint.step in kept for checkpoint in checkpoints]


def _best_of_each(checkpoints: Iterable[Scored | None]) -> list[Scored]:
    groups: dict[str, list[Scored]] = {}
    for one in filter(None, checkpoints):
        groups.setdefault(to_json(sorted(one.ranking.items())), []).append(one)
    return [max(group, key=lambda one: (one.score, one.step)) for group in groups.values()]
