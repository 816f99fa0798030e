"""Evaluate a detector: detect in every image, compute the metrics and write the files."""

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from yolojax.config import Config, EvalConfig
from yolojax.data.class_names import COCO_CATEGORY_IDS, COCO_CLASSES
from yolojax.data.from_config import eval_batches
from yolojax.data.records import Record, Source, header_of, upright_record
from yolojax.data.transforms import (
    Affine,
    blank,
    boxes_to_input,
    boxes_to_original,
    pad_boxes,
    to_uint8,
)
from yolojax.data.tree_labels import classes_of
from yolojax.distributed.processes import barrier
from yolojax.distributed.sharding import fetch, to_devices
from yolojax.evaluation import hierarchy
from yolojax.evaluation.average_precision import match_voc
from yolojax.evaluation.coco import match_coco
from yolojax.evaluation.errors import error_mix, format_errors
from yolojax.evaluation.evaluator import (
    METRICS,
    ImageDetections,
    evaluate,
    ground_truth_from_record,
    no_detections,
    unreadable_ground_truth,
)
from yolojax.evaluation.writers import (
    format_left_out,
    format_table,
    format_unannotated,
    write_coco_results,
    write_matches,
    write_result,
    write_voc_results,
)
from yolojax.files import ignore_full_disk
from yolojax.heads.predictions import scores as class_scores
from yolojax.ops.images import to_float
from yolojax.ops.nms import Detections, nms
from yolojax.progress import progress
from yolojax.tasks import Task, check_eval_nodes
from yolojax.visual.draw import draw_batch, save_image
from yolojax.visual.error_report import plot_errors

__all__ = ["METRICS", "evaluate_source", "make_programs", "warm_up"]

DRAWN_THRESHOLD = 0.25  # score of the boxes in plots, the default of `yolojax predict`
DRAWN_BOXES = 100  # ground-truth boxes per image in plots, at most
SETTINGS = (  # fields of config.eval that must be equal in evaluations that are compared
    "metric",
    "score_threshold",
    "iou_threshold",
    "class_agnostic",
    "top_k",
    "max_detections",
)


class Programs(NamedTuple):
    """The jitted functions of a detector, separate so that each can be timed.

    Another threshold does not recompile.
    """

    network: Callable  # (variables, image [B, h, w, 3]) -> raw
    detect: Callable  # (raw, score_threshold, iou_threshold) -> Output
    descend: Callable | None = None  # as `detect` with the tree's descent, if `detect` has nodes


class Output(NamedTuple):
    """The detections of a batch, and the best candidate of each image at any score."""

    detections: Detections  # boxes in 0..1 of the network's input
    best_score: jax.Array  # [B], of all boxes and classes
    best_label: jax.Array  # int32 [B], its class


def make_programs(task: Task, settings: EvalConfig, nodes: tuple[int, ...] = ()) -> Programs:
    """Build the programs of `task`.

    Args:
        task: a detector.
        settings: config.eval; it may differ from that of `task`.
        nodes: tree nodes to score instead of descending the tree; `settings.nodes` overrides them.
    """

    def network(variables, image):
        chex.assert_shape(image, (None, None, None, 3))
        return task.model.apply(variables, to_float(image), train=False)

    def detect(decode, raw, score_threshold, iou_threshold) -> Output:
        predicted = decode(raw)
        scores = class_scores(predicted)
        chex.assert_shape(predicted.boxes, (len(raw), scores.shape[1], 4))
        detections = nms(
            predicted.boxes,
            scores,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            top_k=settings.limits["top_k"],
            max_detections=settings.max_detections,
            class_agnostic=settings.class_agnostic,
            labels=predicted.labels,
        )
        return Output(detections, *_best(scores, predicted.labels))

    decode = decoder(task, settings, nodes)
    descend = jax.jit(partial(detect, partial(decode, nodes=()))) if nodes else None
    return Programs(jax.jit(network), jax.jit(partial(detect, decode)), descend)


def decoder(task: Task, settings: EvalConfig, nodes: tuple[int, ...]) -> Callable:
    """Return the decoder of `task` with the tree options of `settings`; `nodes` as above."""
    if not task.has_tree:
        return task.decode
    decode = partial(task.decode, nodes=settings.nodes or nodes)
    if task.is_classifier:
        return decode
    return partial(
        decode,
        tree_threshold=settings.tree_threshold,
        tree_semantics=settings.tree_semantics,
        max_tree_boxes=settings.limits["max_tree_boxes"],
    )


def _best(scores, labels):
    """Return the best score [B] of all boxes and classes, and its class int32 [B]."""
    flat = scores.reshape(len(scores), -1)
    index = flat.argmax(axis=1)[:, None]
    if labels is None:
        label = index % scores.shape[-1]
    else:
        label = jnp.take_along_axis(labels.reshape(len(labels), -1), index, axis=1)
    return jnp.take_along_axis(flat, index, axis=1)[:, 0], label[:, 0]


def warm_up(programs: Programs, variables: dict, config: Config, mesh: Mesh) -> None:
    """Compile the programs for the evaluation batches of `config` by running each once."""
    rows = blank_batch(config, mesh, affine=((4,), np.float32), size=((2,), np.int32))
    raw = programs.network(variables, rows.pop("image"))
    detected = programs.detect(raw, 0.5, 0.5).detections
    descended = programs.descend(raw, 0.5, 0.5).detections if programs.descend else None
    jax.block_until_ready((detected, descended))
    barrier()
    fetch((detected, rows), mesh)
    fetch(descended, mesh)


def blank_batch(config: Config, mesh: Mesh, **more: tuple) -> dict[str, jax.Array]:
    """Return an evaluation batch without images: image, image_id -1 and `more`.

    `more` is {name: (shape of a row, dtype)}.
    """
    count = batch_size(config, mesh) // jax.process_count()
    rows = {name: np.zeros((count, *shape), dtype) for name, (shape, dtype) in more.items()}
    rows["image_id"] = np.full(count, -1, np.int32)
    rows["image"] = blank(config.data.resize, (count, *config.data.image_size, 3))
    return to_devices(rows, mesh)


def batch_size(config: Config, mesh: Mesh) -> int:
    """Return config.eval.batch_size, rounded up to a multiple of the devices of `mesh`."""
    return -(-config.eval.batch_size // mesh.size) * mesh.size


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
    checkpoint: dict | None = None,
) -> dict:
    """Evaluate every image of `source`, print the table, write workdir/eval/ and plots/.

    Files: eval/<name>.json (the result), eval/<name>_matches.npz (for paired comparisons),
    eval/<name>_coco.json (COCO results), eval/<name>_voc/comp4_det_test_<class>.txt,
    plots/<name>_batch0_{labels,pred}.jpg. With `errors`, the error analysis is printed and drawn in
    plots/<name>_errors.png. With `lenient`, the files are skipped if the disk is full.

    Returns:
        The result of `evaluator.evaluate` with `source`, `annotated`, `skipped` (messages of
        records with bad annotations), `unreadable` (pictures, whose ground truth counts as missed),
        `speed` (ms per image), `checkpoint` (what was evaluated, as given), `errors`
        (errors.error_mix) and `settings` (fields of config.eval); with a tree, where the classes
        are those of `source`, also `tree` (hierarchy.tree_numbers of the descent). Without
        annotations the numbers are None.

    Raises:
        ValueError: before the evaluation: config.eval has nodes that are not in the tree, or
            `errors` is set and `source` has no annotations.
        BadRecord: a picture cannot be read, and config.data.on_bad_record is "error".
    """
    annotated = getattr(source, "annotated", True)
    if errors and not annotated:
        raise ValueError(f"{source.name}: has no annotations to count errors with; leave --errors.")
    check_eval_nodes(config)
    warm_up(programs, variables, config, mesh)
    ground_truth, detections, descended, unreadable, speed, drawn = _detect_all(
        programs, variables, source, config, mesh
    )
    settings, classes = config.eval, config.model.classes
    if config.model.tree:
        own, of_nodes = classes_of(source), ground_truth
        ground_truth, detections = hierarchy.select_nodes(ground_truth, detections, tuple(own))
        classes = tuple(own.values())
    result = evaluate(
        ground_truth,
        detections,
        classes,
        metric=settings.metric,
        bootstrap=settings.bootstrap,
        protocol=_protocol(config),
    )
    result |= {"source": source.name, "annotated": annotated, "speed": speed}
    missed = {message for _, message in getattr(source, "unreadable", ())}
    left_out = [message for message in source.skipped if message not in missed]
    result |= {"skipped": left_out, "unreadable": unreadable}
    result["checkpoint"] = checkpoint
    result["settings"] = {field: getattr(settings, field) for field in SETTINGS}
    result["errors"] = error_mix(ground_truth, detections, classes)
    print(format_table(result) if annotated else format_unannotated(result))
    if text := format_left_out(result):
        print(text)
    print("  ms per image: " + ", ".join(f"{k} {v:.1f}" for k, v in speed.items()))
    if config.model.tree:
        nodes = {name: node for node, name in own.items()}
        result["tree"] = hierarchy.tree_numbers(
            result, of_nodes, descended, config.model.tree, classes=nodes, seen=settings.seen
        )
        if annotated:
            print(hierarchy.format_numbers(result["tree"]))
    if errors:
        print(format_errors(result["errors"]))
    with ignore_full_disk() if lenient else nullcontext():
        _write(workdir, name, result, ground_truth, detections, source, classes, errors=errors)
        for kind, batch in drawn.items():
            picture = draw_batch(batch, config.model.shown)
            save_image(workdir / "plots" / f"{name}_batch0_{kind}.jpg", picture)
    barrier()
    return result


def _write(workdir, name, result, ground_truth, detections, source, classes, *, errors):
    folder = workdir / "eval"
    if errors:
        plot_errors({name: result["errors"]}, workdir / "plots" / f"{name}_errors.png")
    both = (match(ground_truth, detections, len(classes)) for match in (match_voc, match_coco))
    write_matches(
        folder / f"{name}_matches.npz", [g.image_id for g in ground_truth], classes, *both
    )
    write_result(folder / f"{name}.json", result)
    original_ids = getattr(source, "original_ids", {})
    category_ids = _category_ids(source, classes)
    write_coco_results(folder / f"{name}_coco.json", detections, category_ids, original_ids)
    write_voc_results(folder / f"{name}_voc", detections, classes)


def _protocol(config: Config) -> dict:
    height, width = config.data.image_size
    settings = config.eval
    return {
        "input": f"{height}x{width}, {'letterboxed' if config.data.letterbox else 'squashed'}"
        f"{', resized as Darknet does' if config.data.resize == 'darknet' else ''}",
        "nms": f"IoU > {settings.iou_threshold}, "
        f"{'over all classes' if settings.class_agnostic else 'per class'}",
        "detections": f"score > {settings.score_threshold}, at most {settings.max_detections} "
        "per image",
    }


def _category_ids(source: Source, classes) -> tuple[int, ...] | None:
    """Return the ids in the annotation file of `source`, COCO's ids for COCO's classes, or None."""
    known = COCO_CATEGORY_IDS if tuple(classes) == COCO_CLASSES else None
    return getattr(source, "category_ids", ()) or known


def _detect_all(programs, variables, source, config, mesh):
    """Detect in every image.

    Returns:
        (ground truth, detections, detections by the descent of the tree, names of unreadable
        pictures, ms per image of each stage, the first batch for `draw_batch`).
    """
    ground_truth, detections, descended, unreadable, drawn = [], [], [], [], {}
    times = {"input": 0.0, "network": 0.0, "nms": 0.0}
    thresholds = config.eval.score_threshold, config.eval.iou_threshold
    with (
        closing(eval_batches(source, config, batch_size(config, mesh))) as batches,
        progress(total=len(source), desc="evaluating", unit="image") as bar,
    ):
        while batch := _timed(times, "input", next, batches, None):
            rows = to_devices(batch, mesh)
            raw = _timed(times, "network", programs.network, variables, rows.pop("image"))
            output = _timed(times, "nms", programs.detect, raw, *thresholds)
            detected, rows = fetch((output.detections, rows), mesh)  # as in warm_up
            if programs.descend:
                output = programs.descend(raw, hierarchy.CONFIDENT, config.eval.iou_threshold)
                below = fetch(output.detections, mesh)
            drawn = drawn or _drawn(batch, _own(detected, batch), source)
            for i in np.flatnonzero(rows["image_id"] >= 0):
                bar.update()
                if not rows["size"][i].any():
                    missed, picture = unreadable_ground_truth(source, int(rows["image_id"][i]))
                    ground_truth.append(missed)
                    detections.append(no_detections(missed.image_id))
                    descended.append(detections[-1])
                    unreadable.append(picture)
                    continue
                record = _record(source, rows["image_id"][i], rows["size"][i])
                ground_truth.append(ground_truth_from_record(record, rows["size"][i]))
                detections.append(_detections(record.image_id, rows, detected, i, config))
                if programs.descend:
                    descended.append(_detections(record.image_id, rows, below, i, config))
    for record, _ in getattr(source, "unreadable", ()):
        missed, picture = unreadable_ground_truth([record], 0)
        ground_truth.append(missed)
        detections.append(no_detections(missed.image_id))
        descended.append(detections[-1])
        unreadable.append(picture)
    speed = {name: 1000 * seconds / max(len(ground_truth), 1) for name, seconds in times.items()}
    descended = descended if programs.descend else detections
    return ground_truth, detections, descended, unreadable, speed, drawn


def _timed(times: dict, name: str, function, *args):
    """Call function(*args), wait for the result and add the seconds to times[name]."""
    start = time.monotonic()
    result = jax.block_until_ready(function(*args))
    times[name] += time.monotonic() - start
    return result


def _own(detected: Detections, batch: dict) -> Detections:
    """Return the rows of `detected` that belong to `batch`, the share of this process."""
    share = len(batch["image_id"])
    start = jax.process_index() * share
    return jax.tree.map(lambda leaf: leaf[start : start + share], detected)


def _detections(image_id: str, rows: dict, detected: Detections, i: int, config) -> ImageDetections:
    valid, size = detected.valid[i], config.data.image_size
    boxes = boxes_to_original(detected.boxes[i], rows["affine"][i], size, rows["size"][i])
    scores, labels = detected.scores[i][valid], detected.labels[i][valid]
    return ImageDetections(image_id, boxes[valid], scores, labels)


def _drawn(batch: dict, detected: Detections, source: Source) -> dict[str, dict]:
    """Return the batch for `draw_batch` with ground-truth boxes and with detections."""
    confident = detected.valid & (detected.scores > DRAWN_THRESHOLD)
    predicted = {"boxes": detected.boxes, "labels": detected.labels, "mask": confident}
    rows = zip(batch["image_id"], batch["affine"], batch["size"], strict=True)
    padded = [_padded_boxes(source, batch["image"].shape[1:3], *row) for row in rows]
    boxes, labels, mask = map(np.stack, zip(*padded, strict=True))
    image = {"image": to_uint8(batch["image"])}
    labelled = {"boxes": boxes, "labels": labels, "mask": mask}
    return {"labels": image | labelled, "pred": image | predicted}


def _record(source: Source, image_id, size) -> Record:
    """Read record `image_id`, with the boxes of its upright picture of `size` (height, width).

    The picture was decoded before. Its header is read again only if EXIF may have turned it.
    """
    record, (height, width) = source[int(image_id)], size
    if record.size in (None, (width, height)):
        return record
    return upright_record(record, header_of(record))


def _padded_boxes(source, size, image_id, affine, picture):
    """Return (boxes, labels, mask) of an image in its network input, padded to DRAWN_BOXES."""
    if image_id < 0 or not any(picture):
        return pad_boxes(np.zeros((0, 4)), np.zeros(0), DRAWN_BOXES)
    record = _record(source, image_id, picture)
    boxes = boxes_to_input(record.boxes, Affine(*affine), picture, size)
    return pad_boxes(boxes, record.labels, DRAWN_BOXES)
