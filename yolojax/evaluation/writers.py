"""Format results for the console and write them, also in the file formats of COCO and VOC."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolojax.evaluation.average_precision import Matches
from yolojax.files import open_atomic, safe_name, write_text
from yolojax.json_files import to_json
from yolojax.text_table import text_table

LISTED = 3  # pictures and records in a message
COLUMNS = {  # heading of format_table -> key of per_class
    "images": "images",
    "objects": "objects",
    "P": "precision",
    "R": "recall",
    "VOC07": "voc07_11pt",
    "VOC10": "voc10",
    "AP50": "coco_AP50",
    "AP": "coco_AP",
}


def headline(result: dict) -> str:
    """Format one line: the metric, its value and interval in percent, and the size of the data."""
    text = f"{result['metric']} {_percent(result[result['metric']])}"
    if result["interval"]:
        low, high = result["interval"]
        text += f" [{_percent(low)}, {_percent(high)}]"
    return f"{text} on {result['images']} images, {result['objects']} objects"


def format_table(result: dict) -> str:
    """Format a table with a row for each class, the headline and the protocol."""
    overall = dict.fromkeys(COLUMNS.values()) | result
    rows = (
        [name, *(_cell(row[key]) for key in COLUMNS.values())]
        for name, row in [*result["per_class"].items(), ("all", overall)]
    )
    table = text_table(["class", *COLUMNS], rows)
    notes = [f"  {key}: {text}" for key, text in result["protocol"].items()]
    return "\n".join([table, "", headline(result), "protocol", *notes])


def format_unannotated(result: dict) -> str:
    """Format what an evaluation without ground truth has found."""
    return (
        f"{result['source']}: {result['detections']} detections in {result['images']} images are "
        "written; the source has no annotations, so there are no numbers"
    )


def format_left_out(result: dict) -> str:
    """Format how many pictures could not be read and how many records are left out; "" if none."""
    unreadable, skipped = result["unreadable"], result["skipped"]
    lines = []
    if unreadable:
        lines.append(
            f"  cannot be read, and count as missed or wrong: {len(unreadable)} of "
            f"{result['images']} pictures ({_first(unreadable)})"
        )
    if skipped:
        lines.append(f"  left out, with unusable annotations: {len(skipped)} ({_first(skipped)})")
    return "\n".join(lines)


def _first(items: list[str]) -> str:
    return ", ".join(items[:LISTED]) + (", ..." if len(items) > LISTED else "")


def _cell(value) -> str:
    return str(value) if isinstance(value, int) else _percent(value)


def _percent(value) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def write_result(path, result) -> None:
    """Write `result` as JSON to `path`, atomically; NaN and infinity become null."""
    write_text(path, to_json(result, indent=2) + "\n")


def write_matches(
    path, ids: Sequence[str], classes: Sequence[str], voc: Matches, coco: Matches
) -> None:
    """Write the matches that `significance.read_matches` reads, as .npz.

    Args:
        path: of the file.
        ids: of the images, in the order of the evaluation.
        classes: names, in the order of the labels.
        voc: from `average_precision.match_voc` at IoU .5.
        coco: from `coco.match_coco` at its ten thresholds, of the same detections.
    """
    arrays = {
        "scores": voc.scores,
        "labels": voc.labels.astype(np.int32),
        "images": voc.images.astype(np.int32),
        "positives": voc.positives.astype(np.int32),
        "voc_hits": voc.hits,
        "voc_ignored": voc.ignored,
        "coco_hits": coco.hits,
        "coco_ignored": coco.ignored,
    }
    _write_arrays(path, ids=np.array(ids, str), classes=np.array(classes, str), **arrays)


def write_hits(path, ids, classes: Sequence[str], labels, hits: dict[str, np.ndarray]) -> None:
    """Write the hits of a classifier that `significance.read_hits` reads, as .npz.

    Args:
        path: of the file.
        ids: int [n], index of each image in the source.
        classes: names, in the order of the labels.
        labels: int [n], the true class.
        hits: {metric: bool [n]}, whether the prediction is correct.
    """
    _write_arrays(path, ids=ids, classes=np.array(classes, str), labels=labels, **hits)


def _write_arrays(path, **arrays) -> None:
    with open_atomic(path) as file:
        np.savez_compressed(file, **arrays)


def write_coco_results(
    path, detections, category_ids=None, original_ids: Mapping[str, Any] | None = None
) -> None:
    """Write detections as COCO's results JSON: image_id, category_id, bbox [x, y, w, h], score.

    Args:
        path: of the file.
        detections: list of evaluator.ImageDetections.
        category_ids: of the labels 0..C-1; None = 1..C.
        original_ids: {image_id: id in the annotation file}. If it is empty and every id ends in
            another number (42, COCO_val2014_000000000042), image_id is that number; otherwise it is
            the id.
    """
    ids = [_number(d.image_id) for d in detections]
    if original_ids:
        ids = [original_ids.get(d.image_id, d.image_id) for d in detections]
    elif None in ids or len(set(ids)) < len(ids):
        ids = [d.image_id for d in detections]
    rows = (_coco_rows(i, d, category_ids) for i, d in zip(ids, detections, strict=True))
    write_result(path, [row for image in rows for row in image])


def _coco_rows(image_id, detection, category_ids) -> list[dict]:
    rows = zip(detection.boxes_pixels, detection.scores, detection.labels, strict=True)
    return [
        {
            "image_id": image_id,
            "category_id": int(label) + 1 if category_ids is None else category_ids[label],
            "bbox": [round(float(v), 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(score), 6),
        }
        for (x1, y1, x2, y2), score, label in rows
    ]


def _number(image_id: str) -> int | None:
    digits = str(image_id).rpartition("_")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else None


def write_voc_results(folder, detections, classes) -> list[Path]:
    """Write `comp4_det_test_<class>.txt` of each class for the VOC development kit -> the paths.

    Classes whose names are no file names get those of `files.safe_name`.

    Lines are `image_id score xmin ymin xmax ymax`. VOC counts pixels from 1 and includes the last,
    so a box (x1, y1, x2, y2) is written as (x1 + 1, y1 + 1, x2, y2).

    Args:
        folder: created if missing.
        detections: list of evaluator.ImageDetections.
        classes: names, in the order of the labels.
    """
    lines = {label: [] for label in range(len(classes))}
    for d in detections:
        for (x1, y1, x2, y2), score, label in zip(d.boxes_pixels, d.scores, d.labels, strict=True):
            box = f"{x1 + 1:.3f} {y1 + 1:.3f} {x2:.3f} {y2:.3f}"
            lines[int(label)].append(f"{d.image_id} {score:.6f} {box}\n")
    taken: set[str] = set()
    paths = [Path(folder) / f"comp4_det_test_{safe_name(name, taken)}.txt" for name in classes]
    for path, text in zip(paths, lines.values(), strict=True):
        write_text(path, "".join(text))
    return paths
