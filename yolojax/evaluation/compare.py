"""Compare runs that were evaluated by the same protocol: paired differences and config changes.

Every run is compared with the first. A run is one training, so the intervals cover the test images
only. Another seed of the same config would change the numbers as well.
"""

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.config import Config, flatten, to_dict, with_new_names
from yolojax.evaluation import significance
from yolojax.evaluation.evaluator import METRICS, PROTOCOL
from yolojax.json_files import read_json_lines, to_json

SHOWN = ("voc07_11pt", "voc10", "coco_AP50", "coco_AP75", "coco_AP", "top1", "top5")
# Entries of the protocol that may differ, or that `settings` has; older results have "kept".
NOT_COMPARED = ("input", "nms", "detections", "kept", "interval")
OLD_TEXTS = {  # of the protocol in older results -> the same statement today
    "cocoeval: IoU 0.50:0.95, 101 recall levels, 100 detections of a class in an image; crowds by "
    "intersection over detection; a difficult truth excuses one detection": PROTOCOL["coco"],
    "a second detection of a truth is a false positive": PROTOCOL["duplicates"],
    "over the classes that have truths; the others are null": PROTOCOL["mean"],
}


class Run(NamedTuple):
    """One evaluated run."""

    workdir: Path
    name: str  # of the evaluation
    result: dict  # from evaluate_source
    config: dict  # {dotted name: value}; empty without a config.json (evaluated .weights)

    @property
    def protocol(self) -> dict:
        """The settings that must be equal in runs that are compared."""
        texts = {
            key: OLD_TEXTS.get(text, text)
            for key, text in self.result["protocol"].items()
            if key not in NOT_COMPARED
        }
        settings = {f"eval.{k}": v for k, v in self.result["settings"].items()}
        source, classes = self.result["source"], list(self.result["per_class"])
        return {"source": source, "classes": classes} | settings | texts


def compare(
    workdirs: Sequence[str | Path], name: str = "val", *, resamples: int = 1000, seed: int = 0
) -> dict:
    """Compare the evaluations `name` of two or more runs -> a dict, ready for JSON.

    Args:
        workdirs: folders of runs; the others are compared with the first.
        name: of the result, as in eval/<name>.json.
        resamples: of the images.
        seed: of the resamples.

    Returns:
        name, source, images, metric, protocol; `runs` {run: {workdir, value, interval, numbers,
        input, speed (ms per image), errors (the mean row of errors.error_mix, or None), checkpoint
        (what was evaluated, or None), history (the starts that changed config or data)}};
        `differences` {run: {all: difference, per_class: {class: difference}}} of all but the first,
        each a `significance.Difference` as a dict with `beyond_noise`, where ours is the run,
        theirs the first run and NaN is None; `config` {dotted field: {run: value}} of the fields
        that differ. The name of a run is that of its folder, or its path if two names are equal.

    Raises:
        FileNotFoundError: a run has no such evaluation; names the command that makes it.
        ValueError: fewer than two runs, a duplicate, a damaged file, different protocols or images;
            names the field, both values and the command that makes them equal.
    """
    folders = [Path(w) for w in workdirs]
    if len(folders) < 2 or len({f.resolve() for f in folders}) < len(folders):
        raise ValueError(
            f"compare needs two or more different runs, got {', '.join(map(str, folders))}."
        )
    runs = dict(zip(labels(folders), read_runs(folders, name), strict=True))
    (_, first), *others = runs.items()
    for _, other in others:
        _check_protocol(first, other)
    options = {"resamples": resamples, "seed": seed}
    return {
        "name": name,
        "source": first.result["source"],
        "images": first.result["images"],
        "metric": first.result["metric"],
        "protocol": first.protocol,
        "runs": {label: _summary(run) for label, run in runs.items()},
        "differences": {label: _differences(run, first, options) for label, run in others},
        "config": config_differences({label: run.config for label, run in runs.items()}),
    }


def labels(folders: Sequence[Path]) -> list[str]:
    """Return the last part of each path if these are unique, else the whole paths."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))


def read_runs(folders: Sequence[Path], name: str) -> list[Run]:
    """Read the evaluations `name` in `folders`; raises as in `compare`."""
    runs = [_read_run(folder, name) for folder in folders]
    known = next((run for run in runs if run), None)
    for folder, run in zip(folders, runs, strict=True):
        if run is None:
            command = evaluate_command(folder, name, known)
            path = folder / "eval" / f"{name}.json"
            raise FileNotFoundError(
                f"{path}: not found, or written by a version without comparisons; run: {command}"
            )
    return runs


def _read_run(folder: Path, name: str) -> Run | None:
    result = _read_json(folder / "eval" / f"{name}.json")
    if "settings" not in result:
        return None
    saved = _read_json(folder / "config.json")
    # Fields that are newer than the run have their defaults, which keep the old behaviour.
    config = flatten(to_dict(Config())) | flatten(with_new_names(saved)) if saved else {}
    return Run(folder, name, result, config)


def _read_json(path: Path) -> dict:
    """Read a JSON object; {} if there is no such file."""
    try:
        value = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); write it again with eval.py.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must be an object, got {value!r:.40}.")
    return value


def config_differences(configs: dict[str, dict]) -> dict[str, dict]:
    """Return {field: {run: value}} of the fields that differ among the runs with a config."""
    known = {label: config for label, config in configs.items() if config}
    fields = dict.fromkeys(field for config in known.values() for field in config)
    rows = {f: {label: config.get(f) for label, config in known.items()} for f in fields}
    return {f: row for f, row in rows.items() if len(set(map(to_json, row.values()))) > 1}


def evaluate_command(workdir: Path, name: str, like: Run | None = None) -> str:
    """Return the command that evaluates `workdir` as `like` was evaluated."""
    words = [f"--workdir={workdir}", f"--name={name}"]
    config = _read_json(workdir / "config.json")
    words += [] if config else ["--weights=FILE"]
    if like is None:
        return shlex.join(["yolojax", "eval", *words, *([] if name == "val" else ["--data=..."])])
    own = flatten(with_new_names(config))
    words += [f"--data={like.result['source']}"]
    words += [
        f"--config.{field}={value}"
        for field, value in like.protocol.items()
        if field.startswith("eval.") and own.get(field) != value
    ]
    return shlex.join(["yolojax", "eval", *words])


def _check_protocol(first: Run, other: Run) -> None:
    wanted, got = first.protocol, other.protocol
    wrong = [f for f in {**wanted, **got} if wanted.get(f) != got.get(f)]
    if not wrong:
        return
    texts = [f"{f} is {got.get(f)!r}, in {first.workdir} {wanted.get(f)!r}" for f in wrong]
    if "classes" in wrong or ("top1" in first.result) != ("top1" in other.result):
        way_out = "compare runs with the same classes and the same kind of head."
    else:
        way_out = f"run: {evaluate_command(other.workdir, other.name, first)}"
    raise ValueError(
        f"{other.workdir}: evaluated by another protocol: {'; '.join(texts)}. Make them equal; "
        f"{way_out}"
    )


def _summary(run: Run) -> dict:
    result = run.result
    return {
        "workdir": str(run.workdir),
        "value": result[result["metric"]],
        "interval": result["interval"],
        "numbers": {key: result[key] for key in SHOWN if key in result},
        "input": result["protocol"]["input"],
        "speed": result["speed"],
        "errors": result["errors"]["mean"] if "errors" in result else None,
        "checkpoint": result.get("checkpoint"),
        "history": _history(run.workdir),
    }


def _history(workdir: Path) -> list[dict]:
    """Return {step, changes {field: [before, now]}, notes} of each start that changed something."""
    lines = read_json_lines(workdir / "config_history.jsonl", ["step"])
    kinds = {"changes": dict, "notes": list}
    starts = [
        {"step": line["step"]}
        | {
            name: line[name] if isinstance(line.get(name), kind) else kind()
            for name, kind in kinds.items()
        }
        for line in lines
    ]
    return [start for start in starts if start["changes"] or start["notes"]]


def _differences(run: Run, first: Run, options: dict) -> dict:
    between = _of_accuracy if "top1" in first.result else _of_detections
    try:
        overall, per_class = between(run, first, options)
    except ValueError as error:
        command = evaluate_command(run.workdir, run.name, first)
        raise ValueError(f"{run.workdir} and {first.workdir}: {error} Run: {command}") from error
    return {
        "all": as_dict(overall),
        "per_class": {name: as_dict(difference) for name, difference in per_class.items()},
    }


def _of_detections(run: Run, first: Run, options: dict):
    metric, classes = first.result["metric"], tuple(first.result["per_class"])
    ours, theirs = (
        [significance.read_matches(r.workdir / "eval" / f"{r.name}_matches.npz", metric)]
        for r in (run, first)
    )
    levels = METRICS[metric][1]
    return (
        significance.paired_difference(ours, theirs, levels, **options),
        significance.class_differences(ours, theirs, levels, classes, **options),
    )


def _of_accuracy(run: Run, first: Run, options: dict):
    (ours, labels, ids), (theirs, *same) = (
        significance.read_hits(r.workdir / "eval" / f"{r.name}_hits.npz", r.result["metric"])
        for r in (run, first)
    )
    if not all(map(np.array_equal, same, (labels, ids))):
        raise ValueError("the images or their labels are not the same.")
    classes = {name: labels == i for i, name in enumerate(first.result["per_class"])}
    return significance.accuracy_difference(ours, theirs, **options), {
        name: significance.accuracy_difference(ours[mine], theirs[mine], **options)
        for name, mine in classes.items()
    }


def as_dict(difference: significance.Difference) -> dict:
    """Convert `difference` for JSON, with None for NaN and `beyond_noise` added."""
    numbers = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in difference._asdict().items()
    }
    return numbers | {"beyond_noise": difference.beyond_noise}
