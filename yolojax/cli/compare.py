"""Compare runs that were evaluated on the same images.

Each run is compared with the first by a paired bootstrap over the images, for all classes together
and for each. Source, images, classes, metric and thresholds must be the same; if not, the error
gives the command that makes them equal. The input size may differ.

examples:
  yolojax compare runs/iou runs/giou
  yolojax compare runs/iou runs/giou runs/ciou --name test --plot compare.png
  yolojax compare runs/iou runs/giou --json > compare.json
"""

import argparse

from yolojax.json_files import to_json
from yolojax.text_table import text_table

WIDEST = 40  # characters of a config value, at most
NOISE = "no difference beyond noise"
KINDS = ("correct", "localisation", "similar", "other", "background", "recall", "recall_sure")
SEEDS = """Intervals cover the choice of test images, not the seed of the training; measure that
with `yolojax ablate --seeds`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax compare`."""
    add = parser.add_argument
    add("workdirs", nargs="+", metavar="W", help="workdirs of two or more runs")
    add("--name", default="val", help="of the evaluation: W/eval/NAME.json (default: %(default)s)")
    add("--plot", metavar="FILE", help="plot of the curves, classes and differences")
    add("--json", action="store_true", help="print JSON instead of text")


def run(args) -> int:
    """Compare and print."""
    from yolojax.evaluation.compare import compare

    if len(args.workdirs) < 2:
        raise argparse.ArgumentError(None, f"give two or more runs; got {args.workdirs[0]}.")
    result = compare(args.workdirs, args.name)
    if args.plot:
        from yolojax.visual.compare_plot import plot_comparison

        plot_comparison(result, args.plot)
    print(to_json(result, indent=2) if args.json else as_text(result))
    return 0


def as_text(result: dict) -> str:
    """Format the result of `evaluation.compare.compare` for the console, in percent."""
    parts = [
        f"{result['metric']} on the {result['images']} images of {result['source']}, in percent "
        "with 95 % intervals",
        numbers_table(result),
        verdicts(result),
        *(class_table(result, run) for run in result["differences"]),
        errors_table(result),
        config_table(result),
        history_text(result),
        "\n".join(notes(result)),
    ]
    return "\n\n".join(filter(None, parts))


def verdicts(result: dict) -> str:
    """Format the verdict of each run in a line."""
    lines = (f"  {verdict(run, d['all'])}" for run, d in result["differences"].items())
    return "\n".join([f"against {next(iter(result['runs']))}", *lines])


def verdict(run: str, difference: dict) -> str:
    """Format the paired difference of `run` to the first run as a sentence."""
    if difference["interval"] is None:
        return f"{run}: no ground-truth boxes, nothing to compare"
    low, high = (100 * x for x in difference["interval"])
    value = 100 * difference["difference"]
    if not difference["beyond_noise"]:
        return f"{run}: {NOISE} ({value:+.1f} [{low:+.1f}, {high:+.1f}])"
    if value > 0:
        return f"{run} is better by {value:.1f} [{low:.1f}, {high:.1f}]"
    return f"{run} is worse by {-value:.1f} [{-high:.1f}, {-low:.1f}]"


def numbers_table(result: dict) -> str:
    """Format a table with a row for each run: all metrics and milliseconds per image."""
    runs = result["runs"]
    names = next(iter(runs.values()))["numbers"]
    header, rows = ["run", result["metric"], "interval", *names, "ms per image"], []
    for label, one in runs.items():
        speed = " + ".join(f"{name} {value:.1f}" for name, value in one["speed"].items())
        numbers = (_percent(one["numbers"].get(name)) for name in names)
        rows.append([label, _percent(one["value"]), _interval(one["interval"]), *numbers, speed])
    return text_table(header, rows)


def class_table(result: dict, run: str) -> str:
    """Format a table with a row for each class; a star marks differences beyond noise."""
    first, rows = next(iter(result["runs"])), result["differences"][run]["per_class"]
    header = ["class", first, run, "difference", "interval", ""]
    lines = [
        [
            name,
            _percent(d["theirs"]),
            _percent(d["ours"]),
            _percent(d["difference"], "+"),
            _interval(d["interval"], "+"),
            "*" if d["beyond_noise"] else "",
        ]
        for name, d in rows.items()
    ]
    table = text_table(header, lines)
    if not any(d["beyond_noise"] for d in rows.values()):
        return f"{table}\n{NOISE} in any class"
    return (
        f"{table}\n* beyond noise; of {len(rows)} classes without a difference, "
        f"{0.05 * len(rows):.1g} would have a star by chance"
    )


def errors_table(result: dict) -> str:
    """Format the error mix of all runs; "" for classifiers."""
    runs = {label: one["errors"] for label, one in result["runs"].items()}
    if None in runs.values():
        return ""
    rows = [
        [kind.replace("_sure", ", score > .25"), *(_percent(row[kind]) for row in runs.values())]
        for kind in KINDS
    ]
    table = text_table(["kind", *runs], rows)
    return f"error mix of the top detections, mean over classes\n{table}"


def config_table(result: dict) -> str:
    """Format the config fields that differ."""
    runs = [label for label in result["runs"] if any(label in r for r in result["config"].values())]
    if not runs:
        return "the configs are the same"
    rows = [
        [field, *(_short(row.get(label)) for label in runs)]
        for field, row in result["config"].items()
    ]
    return text_table(["config", *runs], rows)


def history_text(result: dict) -> str:
    """Format what was changed while a run trained, a line each; "" if nothing was."""
    lines = [
        f"  {label}, from step {start['step']} on: {text}"
        for label, one in result["runs"].items()
        for start in one["history"]
        for text in [*(f"{k} {_pair(v)}" for k, v in start["changes"].items()), *start["notes"]]
    ]
    return "\n".join(["changed during the training", *lines]) if lines else ""


def _pair(values) -> str:
    """Format [before, now] of a field."""
    return " -> ".join(map(_short, values)) if isinstance(values, list) else _short(values)


def notes(result: dict) -> list[str]:
    """Return the notes that qualify the numbers."""
    inputs = {label: one["input"] for label, one in result["runs"].items()}
    lines = [SEEDS]
    if len(set(inputs.values())) > 1:
        sizes = ", ".join(f"{label} {text}" for label, text in inputs.items())
        lines.append(f"The inputs differ, as part of the models: {sizes}.")
    if any(field.startswith("loss.") for field in result["config"]):
        lines.append("The losses differ, so their values are not comparable.")
    return lines


def _percent(value, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f}"


def _interval(pair, sign: str = "") -> str:
    return "-" if pair is None else f"[{', '.join(_percent(value, sign) for value in pair)}]"


def _short(value) -> str:
    text = value if isinstance(value, str) and value else to_json(value)
    text = " ".join(text.split())
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
