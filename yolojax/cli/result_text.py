"""What `yolojax predict` says of a picture, and the files of numbers that it writes."""

import csv
import io
import json
import math

from yolojax.predict import Classification, Result

ARROW = " > "  # between the names on the way down a tree
EDGES = ("x1", "y1", "x2", "y2")
NOISE = 0.01  # a best score below it means that the network has not learned these pictures
BROKEN = "the network's output is not a number; its weights are broken"


def one_line(result: Result | Classification) -> str:
    """What is said of a picture: its detections or classes, or why there are none."""
    if isinstance(result, Classification):
        return f"{result.file}: {_likeliest(result)}"
    if not len(result.scores):
        return f"{result.file}: {why_nothing(result)}"
    found = _listed(result.paths, result.scores)
    return f"{result.file}: {len(result.scores)} found: {found}"


def _likeliest(result) -> str:
    return _listed(result.paths, result.probs) if math.isfinite(result.probs[0]) else BROKEN


def _listed(paths, numbers) -> str:
    """ "animal > dog > terrier 0.41, vehicle 0.30"; of classes without a tree their names."""
    pairs = zip(paths, numbers, strict=True)
    return ", ".join(f"{ARROW.join(path)} {number:.2f}" for path, number in pairs)


def why_nothing(result: Result) -> str:
    """Why there is no detection, and the way out."""
    score, name = result.best_score, result.classes[result.best_label]
    if not math.isfinite(score):
        return f"nothing found: {BROKEN}"
    best = f"nothing above the threshold; the best candidate is {name} at {score:.2g}"
    if score < NOISE:
        return (
            f"{best}: is the network trained for such pictures, and does --cfg or --config fit it?"
        )
    digit = 10.0 ** math.floor(math.log10(score))
    lower = math.floor(0.999 * score / digit) * digit or 0.9 * digit
    return f"{best}: try --threshold {lower:.2g}"


def as_json(rows: list[dict]) -> str:
    """`rows`, the to_dict() of each result, as a JSON list."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def as_csv(rows: list[dict], tree: bool = False) -> str:
    """One line a detection, or a class of a classifier; of a `tree` with wnid and path."""
    kind = "classes" if rows and "classes" in rows[0] else "detections"
    number, edges = ("probability", ()) if kind == "classes" else ("score", EDGES)
    columns = ("class", "class_id", *(("wnid", "path") if tree else ()), number)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", *columns, *edges))
    for row in rows:
        for found in row[kind]:
            cells = found | {"path": ARROW.join(found.get("path", ()))}
            values = [cells[column] for column in columns]
            table.writerow((row["file"], *values, *found.get("box", ())))
    return text.getvalue()


def as_darknet(result: Result) -> str:
    """One line a detection: class cx cy w h score, in 0..1 of the picture."""
    height, width = result.image.shape[:2]
    lines = []
    for label, score, box in zip(result.labels, result.scores, result.boxes_pixels, strict=True):
        x1, y1, x2, y2 = box / (width, height, width, height)
        place = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
        lines.append(" ".join([str(label), *(f"{v:.6f}" for v in place), f"{score:.4f}\n"]))
    return "".join(lines)
