"""The text of `yolojax predict`: a line for each picture, JSON, CSV and Darknet's .txt."""

import csv
import io
import math

from yolojax.predict import Classification, Result

ARROW = " > "  # between the nodes of a path
EDGES = ("x1", "y1", "x2", "y2")
NOISE = 0.01  # a lower best score means that the network was not trained for such pictures
BROKEN = "the network's output is NaN or infinite; its weights are damaged"


def one_line(result: Result | Classification) -> str:
    """Format the detections or classes of a picture, or why there are none."""
    if isinstance(result, Classification):
        return f"{result.file}: {_most_probable(result)}"
    if not len(result.scores):
        return f"{result.file}: {why_nothing(result)}"
    return f"{result.file}: {len(result.scores)} found: {_listed(result.paths, result.scores)}"


def _most_probable(result) -> str:
    return _listed(result.paths, result.probs) if math.isfinite(result.probs[0]) else BROKEN


def _listed(paths, numbers) -> str:
    """Format paths with their scores: "animal > dog > terrier 0.41, vehicle 0.30"."""
    pairs = zip(paths, numbers, strict=True)
    return ", ".join(f"{ARROW.join(path)} {number:.2f}" for path, number in pairs)


def why_nothing(result: Result) -> str:
    """Explain why there is no detection, and what to do."""
    score, name = result.best_score, result.classes[result.best_label]
    if not math.isfinite(score):
        return f"nothing found: {BROKEN}"
    best = f"nothing above the threshold; the best candidate is {name} at {score:.2g}"
    if score < NOISE:
        return f"{best}: was the network trained for such pictures, and does --cfg or --config fit?"
    digit = 10.0 ** math.floor(math.log10(score))
    lower = math.floor(0.999 * score / digit) * digit or 0.9 * digit
    return f"{best}: try --threshold {lower:.2g}"


def csv_heading(result: Result | Classification | None) -> str:
    """Return the first line of a CSV of results like `result`; with a tree, with wnid and path."""
    edges = () if isinstance(result, Classification) else EDGES
    return _csv([("file", *_columns(result), *edges)])


def csv_lines(result: Result | Classification) -> str:
    """Format one line per detection or class."""
    row = result.to_dict()
    rows = []
    for one in row.get("classes", row.get("detections")):
        cells = one | {"path": ARROW.join(one.get("path", ()))}
        values = [cells[column] for column in _columns(result)]
        rows.append((row["file"], *values, *one.get("box", ())))
    return _csv(rows)


def _columns(result) -> tuple[str, ...]:
    number = "probability" if isinstance(result, Classification) else "score"
    tree = ("wnid", "path") if result and result.tree else ()
    return ("class", "class_id", *tree, number)


def _csv(rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def as_darknet(result: Result) -> str:
    """Format one line per detection: class cx cy w h score, in 0..1 of the picture."""
    height, width = result.image.shape[:2]
    lines = []
    for label, score, box in zip(result.labels, result.scores, result.boxes_pixels, strict=True):
        x1, y1, x2, y2 = box / (width, height, width, height)
        box = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
        lines.append(" ".join([str(label), *(f"{v:.6f}" for v in box), f"{score:.4f}\n"]))
    return "".join(lines)
