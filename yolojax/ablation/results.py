"""Read the results of the runs on disk: the numbers of each row, ready for JSON."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolojax.ablation.rows import Row
from yolojax.ablation.runs import Run, is_complete, run_of
from yolojax.config import Config
from yolojax.evaluation.evaluator import METRICS
from yolojax.evaluation.significance import paired_difference, read_matches
from yolojax.json_files import parse_json
from yolojax.models.summary import layer_table, totals
from yolojax.tasks import build_model
from yolojax.visual.report import read_metrics

UNDONE = "no result yet"


def read_results(rows: Sequence[Row], seeds: int, workdir: Path) -> list[dict]:
    """Read the numbers of each of `rows` from its finished runs with seeds 0 .. `seeds` - 1.

    Returns:
        For each row: name, label, missing (why it has no result, or ""), parameters (trainable) and
        bflops (2 * multiplications / 1e9 per image). With results also: metric, seeds and their
        scores (0..1), mean, std (n - 1; None with one seed), images_per_second (network and NMS in
        the evaluation, mean over seeds), train_seconds (steps only, mean over seeds; None if not
        logged) and difference (to the previous row with results; None in the first).

    Raises:
        FileNotFoundError, ValueError: a result file is damaged or has no score, or two rows were
            not evaluated on the same images.
    """
    entries, before = [], {}
    for row in rows:
        runs = [run_of(row, seed, workdir) for seed in range(seeds)]
        ended = {} if row.not_run else {r.config.seed: r for r in runs if is_complete(r)}
        missing = f"not run: {row.not_run}" if row.not_run else UNDONE
        entry = {"name": row.name, "label": row.label, "missing": "" if ended else missing}
        entry |= _costs(row.config)
        if ended:
            entry |= _numbers(list(ended.values())) | {"seeds": list(ended)}
            entry["difference"] = _difference(ended, before)
            before = ended
        entries.append(entry)
    return entries


def _costs(config: Config) -> dict:
    network, _ = build_model(config.model)
    total = totals(layer_table(network, config.data.image_size))
    return {"parameters": total["params"], "bflops": total["bflops_all"]}


def _numbers(runs: list[Run]) -> dict:
    files = [run.workdir / "eval" / "val.json" for run in runs]
    results = [parse_json(file.read_bytes(), file) for file in files]
    metric = runs[0].config.eval.metric
    scores = [result[metric] for result in results]
    if None in scores:
        raise ValueError(
            f"{runs[scores.index(None)].workdir}: no {metric}; does the test set have "
            "ground-truth boxes?"
        )
    seconds = [s for s in map(_train_seconds, runs) if s is not None]
    return {
        "metric": metric,
        "scores": scores,
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "images_per_second": float(np.mean([_images_per_second(result) for result in results])),
        "train_seconds": float(np.mean(seconds)) if seconds else None,
    }


def _difference(ours: dict[int, Run], theirs: dict[int, Run]) -> dict | None:
    """Compare the runs {seed: run} of two rows: {to, seeds, value, interval (95 %), covers}.

    The seeds that both rows have are compared, or all if they share none.
    """
    if not theirs:
        return None
    shared = ours.keys() & theirs.keys()
    a, b = ([run for s, run in runs.items() if s in (shared or runs)] for runs in (ours, theirs))
    found = {"to": b[0].workdir.parent.name, "seeds": [run.config.seed for run in a]}
    metric = a[0].config.eval.metric
    if metric not in METRICS:  # of a classifier
        value = _numbers(a)["mean"] - _numbers(b)["mean"]
        return found | {"value": value, "interval": None, "covers": "nothing"}
    matches = (
        [read_matches(r.workdir / "eval" / "val_matches.npz", metric) for r in x] for x in (a, b)
    )
    one = paired_difference(*matches, METRICS[metric][1])
    return found | {"value": one.difference, "interval": one.interval, "covers": one.covers}


def _images_per_second(result: dict) -> float:
    """Speed of network and NMS; reading and resizing the pictures is excluded."""
    return 1000 / sum(ms for part, ms in result["speed"].items() if part != "input")


def _train_seconds(run: Run) -> float | None:
    """Seconds of the training steps, from the logged rates, as a run may have been interrupted."""
    rates = [
        line.get("train/images_per_sec") for line in read_metrics(run.workdir / "metrics.jsonl")
    ]
    pace = [1 / rate for rate in rates if rate]
    return run.config.optimizer.images * float(np.mean(pace)) if pace else None
