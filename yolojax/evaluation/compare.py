"""Runs side by side: the same protocol or an error, paired differences, what their configs change.

Every run is compared with the first. A run is one training, so the intervals are over the images
of the test alone: another seed of the same config would move them, too.
"""

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.config import Config, to_dict
from yolojax.evaluation import significance
from yolojax.evaluation.evaluator import METRICS

SHOWN = ("voc07_11pt", "voc10", "coco_AP50", "coco_AP75", "coco_AP", "top1", "top5")
OF_THE_MODEL = ("input", "nms", "kept", "interval")  # of the protocol: `settings` have the rest


class Run(NamedTuple):
    """One evaluated run."""

    workdir: Path
    name: str  # of the evaluation
    result: dict  # of evaluate_source
    config: dict  # {dotted name: value}; empty without a config.json, as of a .weights file

    @property
    def protocol(self) -> dict:
        """What another run must have, too."""
        texts = {k: v for k, v in self.result["protocol"].items() if k not in OF_THE_MODEL}
        settings = {f"eval.{k}": v for k, v in self.result["settings"].items()}
        source, classes = self.result["source"], list(self.result["per_class"])
        return {"source": source, "classes": classes} | settings | texts


def compare(
    workdirs: Sequence[str | Path], name: str = "val", *, resamples: int = 1000, seed: int = 0
) -> dict:
    """Compare the evaluations `name` of two or more runs -> a dict that is ready for JSON.

    Args:
        workdirs: folders of runs; the first is what the others are compared with.
        name: of the result, as in eval/<name>.json.
        resamples: of the images.
        seed: of these.

    Returns:
        name, source, images, metric, protocol; `runs` {run: {workdir, value, interval, numbers,
        input, speed (ms an image), errors (the mean row of errors.error_mix, or None)}};
        `differences` {run: {all: difference, per_class: {class: difference}}} of all but the first,
        each a `paired.Difference` as a dict, `beyond_noise` added, with ours the run, theirs the
        first one and None for NaN; `config` {dotted field: {run: value}} of the fields in which
        runs differ. Runs go by the names of their folders, by their whole paths where two are
        the same.

    Raises:
        FileNotFoundError: a run has no such evaluation; says the command that makes it.
        ValueError: fewer than two runs, one twice, a file that is broken, another protocol or other
            images; says the field, both values and the command that makes them equal.
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
    """The last part of each path, if no two share one; else the whole paths."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))


def read_runs(folders: Sequence[Path], name: str) -> list[Run]:
    """The evaluations `name` in `folders`; raises as `compare`."""
    runs = [_read_run(folder, name) for folder in folders]
    known = next((run for run in runs if run), None)
    for folder, run in zip(folders, runs, strict=True):
        if run is None:
            command = evaluate_command(folder, name, known)
            path = folder / "eval" / f"{name}.json"
            raise FileNotFoundError(
                f"{path}: not found, or of a version that kept nothing to compare; run: {command}"
            )
    return runs


def _read_run(folder: Path, name: str) -> Run | None:
    result = _read_json(folder / "eval" / f"{name}.json")
    if "settings" not in result:
        return None
    saved = _read_json(folder / "config.json")
    # A field that is younger than the run has its default, which is what the run did.
    config = flatten(to_dict(Config())) | flatten(saved) if saved else {}
    return Run(folder, name, result, config)


def _read_json(path: Path) -> dict:
    """What is in the file, {} if there is none."""
    try:
        found = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); write it again with eval.py.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must be an object, got {found!r:.40}.")
    return found


def flatten(fields: dict, prefix: str = "") -> dict:
    """Nested dicts as one with dotted names; tuples are lists, as in JSON."""
    flat = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.loads(json.dumps(value))
    return flat


def config_differences(configs: dict[str, dict]) -> dict[str, dict]:
    """{field: {run: value}} of the fields that are not the same in all runs that have a config."""
    known = {label: config for label, config in configs.items() if config}
    fields = dict.fromkeys(field for config in known.values() for field in config)
    rows = {f: {label: config.get(f) for label, config in known.items()} for f in fields}
    return {f: row for f, row in rows.items() if len(set(map(json.dumps, row.values()))) > 1}


def evaluate_command(workdir: Path, name: str, like: Run | None = None) -> str:
    """The eval.py that evaluates `workdir` as `like` was evaluated."""
    words = [f"--workdir={workdir}", f"--name={name}"]
    config = _read_json(workdir / "config.json")
    words += [] if config else ["--weights=FILE"]
    if like is None:
        return shlex.join(["python", "eval.py", *words, *([] if name == "val" else ["--data=..."])])
    own = flatten(config)
    words += [f"--data={like.result['source']}"]
    words += [
        f"--config.{field}={value}"
        for field, value in like.protocol.items()
        if field.startswith("eval.") and own.get(field) != value
    ]
    return shlex.join(["python", "eval.py", *words])


def _check_protocol(first: Run, other: Run) -> None:
    wanted, got = first.protocol, other.protocol
    wrong = [f for f in {**wanted, **got} if wanted.get(f) != got.get(f)]
    if not wrong:
        return
    texts = [f"{f} is {got.get(f)!r}, in {first.workdir} {wanted.get(f)!r}" for f in wrong]
    if "classes" in wrong or ("top1" in first.result) != ("top1" in other.result):
        way_out = "compare runs that tell the same classes in the same way."
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
    }


def _differences(run: Run, first: Run, options: dict) -> dict:
    between = _of_accuracy if "top1" in first.result else _of_detections
    try:
        overall, per_class = between(run, first, options)
    except ValueError as error:
        command = evaluate_command(run.workdir, run.name, first)
        raise ValueError(f"{run.workdir} and {first.workdir}: {error} Run: {command}") from error
    return {
        "all": as_dict(overall),
        "per_class": {name: as_dict(found) for name, found in per_class.items()},
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
    """`difference` for JSON: None for NaN, and whether it is beyond noise."""
    numbers = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in difference._asdict().items()
    }
    return numbers | {"beyond_noise": difference.beyond_noise}
