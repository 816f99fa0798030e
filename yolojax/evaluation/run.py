"""A model and a source -> detections in pixels of the pictures -> numbers, files, drawings."""

import time
from pathlib import Path

import jax
import numpy as np

from yolojax.config import Config
from yolojax.data.augment import pad_truths
from yolojax.data.doors import eval_batches
from yolojax.data.geometry import Affine, boxes_to_input, boxes_to_original
from yolojax.data.records import Record, Source
from yolojax.evaluation.detect import Programs
from yolojax.evaluation.evaluator import (
    ImageDetections,
    ImageTruth,
    evaluate,
    truth_from_record,
)
from yolojax.evaluation.writers import (
    format_table,
    write_coco_results,
    write_result,
    write_voc_results,
)
from yolojax.ops.nms import Detections
from yolojax.progress import progress
from yolojax.visual.draw import draw_batch, save_image

DRAWN_THRESHOLD = 0.25  # of the drawn pictures, as `yolojax predict` has it
DRAWN_TRUTHS = 100  # boxes an image, at most


def evaluate_source(
    programs: Programs,
    variables: dict,
    source: Source,
    config: Config,
    workdir: Path,
    name: str = "val",
) -> dict:
    """Evaluate on every picture of `source`, print the table, write workdir/eval/ and plots/.

    Files: eval/<name>.json (the result), eval/<name>_coco.json (COCO results),
    eval/<name>_voc/comp4_det_test_<class>.txt, plots/<name>_batch0_{labels,pred}.jpg.

    Returns:
        The result of `evaluator.evaluate` with `source` and `speed` (ms an image) added.
    """
    truths, detections, speed, drawn = _detect_all(programs, variables, source, config)
    settings, classes = config.eval, config.model.classes
    result = evaluate(
        truths,
        detections,
        classes,
        metric=settings.metric,
        bootstrap=settings.bootstrap,
        protocol=_protocol(config),
    )
    result |= {"source": source.name, "speed": speed}
    folder, plots = workdir / "eval", workdir / "plots"
    write_result(folder / f"{name}.json", result)
    category_ids = getattr(source, "category_ids", None) or None  # () where there are none
    write_coco_results(folder / f"{name}_coco.json", detections, category_ids)
    write_voc_results(folder / f"{name}_voc", detections, classes)
    for kind, batch in drawn.items():
        save_image(plots / f"{name}_batch0_{kind}.jpg", draw_batch(batch, classes))
    print(format_table(result))
    print("  ms per image: " + ", ".join(f"{k} {v:.1f}" for k, v in speed.items()))
    return result


def _protocol(config: Config) -> dict:
    height, width = config.data.image_size
    settings = config.eval
    return {
        "input": f"{height}x{width}, {'letterboxed' if config.data.letterbox else 'squashed'}",
        "nms": f"IoU > {settings.iou_threshold}, "
        f"{'over all classes' if settings.class_agnostic else 'per class'}",
        "kept": f"score > {settings.score_threshold}, at most {settings.max_detections} an image",
    }


def _detect_all(programs, variables, source, config):
    """(truths, detections, ms an image of each part, the first batch as truth and prediction)."""
    truths, detections, drawn = [], [], {}
    times = {"input": 0.0, "network": 0.0, "nms": 0.0}
    batches = eval_batches(source, config)
    thresholds = config.eval.score_threshold, config.eval.iou_threshold
    bar = progress(total=len(source), desc="evaluating", unit="image")
    while True:
        start = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            break
        loaded = time.monotonic()
        raw = jax.block_until_ready(programs.network(variables, batch["image"]))
        seen = time.monotonic()
        found = jax.device_get(programs.detect(raw, *thresholds)).detections
        ended = time.monotonic()
        if drawn:  # the first batch holds the time of compiling
            spent = (loaded - start, seen - loaded, ended - seen)
            times = {k: v + t for (k, v), t in zip(times.items(), spent, strict=True)}
        else:
            drawn = _drawn(batch, found, source)
        for i in np.flatnonzero(batch["image_id"] >= 0):
            record = source[int(batch["image_id"][i])]
            truths.append(_truth(record, batch["size"][i]))
            detections.append(_detections(record.image_id, batch, found, i))
            bar.update()
    bar.close()
    timed = max(len(source) - config.eval.batch_size, 1)
    return truths, detections, {k: 1000 * v / timed for k, v in times.items()}, drawn


def _truth(record: Record, size) -> ImageTruth:
    return truth_from_record(
        image_id=record.image_id,
        boxes=record.boxes,
        labels=record.labels,
        difficult=record.difficult,
        crowd=record.crowd,
        area=record.area,
        width=int(size[1]),
        height=int(size[0]),
    )


def _detections(image_id: str, batch: dict, found: Detections, i: int) -> ImageDetections:
    kept = found.valid[i]
    boxes = boxes_to_original(
        found.boxes[i], batch["affine"][i], batch["image"].shape[1:3], batch["size"][i]
    )
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
    return {"labels": batch | truth, "pred": batch | predicted}


def _padded_truth(source, size, image_id, affine, picture):
    if image_id < 0:
        return pad_truths(np.zeros((0, 4)), np.zeros(0), DRAWN_TRUTHS)
    record = source[int(image_id)]
    boxes = boxes_to_input(record.boxes, Affine(*affine), picture, size)
    return pad_truths(boxes, record.labels, DRAWN_TRUTHS)
