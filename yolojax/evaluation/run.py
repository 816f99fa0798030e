"""A model and a source -> detections in pixels of the pictures -> numbers, files, drawings."""

import time
from contextlib import closing, nullcontext
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.data.class_names import COCO_CATEGORY_IDS, COCO_CLASSES
from yolojax.data.from_config import eval_batches
from yolojax.data.records import Source
from yolojax.data.transforms import Affine, boxes_to_input, boxes_to_original, pad_boxes, to_uint8
from yolojax.data.tree_labels import classes_of
from yolojax.distributed.processes import meet
from yolojax.distributed.sharding import fetch, to_devices
from yolojax.evaluation import hierarchy
from yolojax.evaluation.average_precision import match_voc
from yolojax.evaluation.coco import match_coco
from yolojax.evaluation.detect import Programs, batch_size, warm_up
from yolojax.evaluation.errors import error_mix, format_errors
from yolojax.evaluation.evaluator import ImageDetections, evaluate, truth_from_record
from yolojax.evaluation.writers import (
    format_table,
    write_coco_results,
    write_matches,
    write_result,
    write_voc_results,
)
from yolojax.files import ignore_full_disk
from yolojax.ops.nms import Detections
from yolojax.progress import progress
from yolojax.tasks import check_eval_nodes
from yolojax.visual.draw import draw_batch, save_image
from yolojax.visual.error_report import plot_errors

DRAWN_THRESHOLD = 0.25  # of the drawn pictures, as `yolojax predict` has it
DRAWN_TRUTHS = 100  # boxes an image, at most
SETTINGS = (  # fields of config.eval that two evaluations must share to be compared
    "metric",
    "score_threshold",
    "iou_threshold",
    "class_agnostic",
    "top_k",
    "max_detections",
)


def evaluate_source(
    programs: Programs,
    variables: dict,
    source: Source,
    config: Config,
    mesh: Mesh,
    workdir: Path,
    name: str = "val",
    *,
    errors: bool = False,
    lenient: bool = False,
) -> dict:
    """Evaluate on every picture of `source`, print the table, write workdir/eval/ and plots/.

    Files: eval/<name>.json (the result), eval/<name>_matches.npz (for paired comparisons),
    eval/<name>_coco.json (COCO results), eval/<name>_voc/comp4_det_test_<class>.txt,
    plots/<name>_batch0_{labels,pred}.jpg; with `errors` the kinds of error are printed, and
    plots/<name>_errors.png shows them. With `lenient` a full disk costs the files alone.

    Returns:
        The result of `evaluator.evaluate` with `source`, `speed` (ms an image), `errors`
        (errors.error_mix) and `settings` (fields of config.eval) added; for a tree of classes, of
        which those of `source` are evaluated under their own names, also `tree`
        (hierarchy.tree_numbers, of detections that are named by the descent).

    Raises:
        ValueError: config.eval names nodes that are not of the tree; before anything is evaluated.
    """
    check_eval_nodes(config)
    warm_up(programs, variables, config, mesh)
    truths, detections, named, speed, drawn = _detect_all(programs, variables, source, config, mesh)
    settings, classes = config.eval, config.model.classes
    if config.model.tree:
        own, on_nodes = classes_of(source), truths
        truths, detections = hierarchy.among(truths, detections, tuple(own))
        classes = tuple(own.values())
    result = evaluate(
        truths,
        detections,
        classes,
        metric=settings.metric,
        bootstrap=settings.bootstrap,
        protocol=_protocol(config),
    )
    result |= {"source": source.name, "speed": speed, "skipped": list(source.skipped)}
    result["settings"] = {field: getattr(settings, field) for field in SETTINGS}
    result["errors"] = error_mix(truths, detections, classes)
    print(format_table(result))
    print("  ms per image: " + ", ".join(f"{k} {v:.1f}" for k, v in speed.items()))
    if config.model.tree:
        nodes = {name: node for node, name in own.items()}
        result["tree"] = hierarchy.tree_numbers(
            result, on_nodes, named, config.model.tree, classes=nodes, seen=settings.seen
        )
        print(hierarchy.format_numbers(result["tree"]))
    if errors:
        print(format_errors(result["errors"]))
    with ignore_full_disk() if lenient else nullcontext():
        ids = _category_ids(source, classes)
        _write(workdir, name, result, truths, detections, classes, ids, errors=errors)
        for kind, batch in drawn.items():
            picture = draw_batch(batch, config.model.shown)
            save_image(workdir / "plots" / f"{name}_batch0_{kind}.jpg", picture)
    meet()
    return result


def _write(workdir, name, result, truths, detections, classes, category_ids, *, errors):
    folder = workdir / "eval"
    if errors:
        plot_errors({name: result["errors"]}, workdir / "plots" / f"{name}_errors.png")
    both = (match(truths, detections, len(classes)) for match in (match_voc, match_coco))
    write_matches(folder / f"{name}_matches.npz", [t.image_id for t in truths], classes, *both)
    write_result(folder / f"{name}.json", result)
    write_coco_results(folder / f"{name}_coco.json", detections, category_ids)
    write_voc_results(folder / f"{name}_voc", detections, classes)


def _protocol(config: Config) -> dict:
    height, width = config.data.image_size
    settings = config.eval
    return {
        "input": f"{height}x{width}, {'letterboxed' if config.data.letterbox else 'squashed'}"
        f"{', resized as Darknet does' if config.data.resize == 'darknet' else ''}",
        "nms": f"IoU > {settings.iou_threshold}, "
        f"{'over all classes' if settings.class_agnostic else 'per class'}",
        "kept": f"score > {settings.score_threshold}, at most {settings.max_detections} an image",
    }


def _category_ids(source: Source, classes) -> tuple[int, ...] | None:
    """The ids of the source's own file, COCO's for COCO's classes, else None."""
    known = COCO_CATEGORY_IDS if tuple(classes) == COCO_CLASSES else None
    return getattr(source, "category_ids", ()) or known


def _detect_all(programs, variables, source, config, mesh):
    """What is in all pictures, what was found, and how long that took.

    Returns:
        (truths, detections, those that a descent down the tree names, ms an image of each part,
        the first batch as truth and prediction).
    """
    truths, detections, named, drawn = [], [], [], {}
    times = {"input": 0.0, "network": 0.0, "nms": 0.0}
    thresholds = config.eval.score_threshold, config.eval.iou_threshold
    with (
        closing(eval_batches(source, config, batch_size(config, mesh))) as batches,
        progress(total=len(source), desc="evaluating", unit="image") as bar,
    ):
        while batch := _timed(times, "input", next, batches, None):
            rows = to_devices(batch, mesh)
            raw = _timed(times, "network", programs.network, variables, rows.pop("image"))
            found = _timed(times, "nms", programs.detect, raw, *thresholds)
            found, rows = fetch((found.detections, rows), mesh)  # as in warm_up
            if programs.descend:
                sure = programs.descend(raw, hierarchy.SURE, config.eval.iou_threshold)
                below = fetch(sure.detections, mesh)
            drawn = drawn or _drawn(batch, _own(found, batch), source)
            for i in np.flatnonzero(rows["image_id"] >= 0):
                record = source[int(rows["image_id"][i])]
                truths.append(truth_from_record(record, rows["size"][i]))
                detections.append(_detections(record.image_id, rows, found, i, config))
                if programs.descend:
                    named.append(_detections(record.image_id, rows, below, i, config))
                bar.update()
    speed = {name: 1000 * seconds / max(len(truths), 1) for name, seconds in times.items()}
    return truths, detections, named or detections, speed, drawn


def _timed(times: dict, name: str, function, *args):
    """function(*args), with the seconds until its result is there added to times[name]."""
    start = time.monotonic()
    result = jax.block_until_ready(function(*args))
    times[name] += time.monotonic() - start
    return result


def _own(found: Detections, batch: dict) -> Detections:
    """The rows of `found` that belong to this process, which has read `batch`."""
    share = len(batch["image_id"])
    start = jax.process_index() * share
    return jax.tree.map(lambda leaf: leaf[start : start + share], found)


def _detections(image_id: str, rows: dict, found: Detections, i: int, config) -> ImageDetections:
    kept, size = found.valid[i], config.data.image_size
    boxes = boxes_to_original(found.boxes[i], rows["affine"][i], size, rows["size"][i])
    return ImageDetections(image_id, boxes[kept], found.scores[i][kept], found.labels[i][kept])


def _drawn(batch: dict, found: Detections, source: Source) -> dict[str, dict]:
    """The batch as `draw_batch` takes it: with its truths, and with what was found."""
    sure = found.valid & (found.scores > DRAWN_THRESHOLD)
    predicted = {"boxes": found.boxes, "labels": found.labels, "mask": sure}
    rows = zip(batch["image_id"], batch["affine"], batch["size"], strict=True)
    padded = [_padded_truth(source, batch["image"].shape[1:3], *row) for row in rows]
    truth = dict(
        zip(("boxes", "labels", "mask"), map(np.stack, zip(*padded, strict=True)), strict=True)
    )
    image = {"image": to_uint8(batch["image"])}
    return {"labels": image | truth, "pred": image | predicted}


def _padded_truth(source, size, image_id, affine, picture):
    if image_id < 0:
        return pad_boxes(np.zeros((0, 4)), np.zeros(0), DRAWN_TRUTHS)
    record = source[int(image_id)]
    boxes = boxes_to_input(record.boxes, Affine(*affine), picture, size)
    return pad_boxes(boxes, record.labels, DRAWN_TRUTHS)
