"""Check a data set before training. Reads all of it; the exit status is 1 if there are errors.

Errors: annotations that cannot be used, classes that the config does not have, pictures that
cannot be decoded, pictures of another size than their annotation states, boxes that exceed the
picture or have no area. Warnings: pictures without a label file (YOLO), pictures cut short, boxes
of the picture before EXIF turns it (they are turned too), boxes of pictures that EXIF turns where
no size shows whether they are turned, pictures with the same content in the set or in that of
--against, duplicate boxes, boxes with a side below 1 % of the input, more boxes in a picture than
max_boxes, classes that never occur. Then follow statistics, and the upper bound of recall of the
grids of YOLOv1 and YOLOv2: of several objects in a cell (YOLOv1), or in a cell with the same
nearest anchor (YOLOv2), only one is trained on.

examples:
  yolojax check-data voc:VOCdevkit/VOC2007:trainval
  yolojax check-data voc:bccd:train --config=bccd --plot bccd.png
  yolojax check-data voc:photos:train --against voc:photos:val
  yolojax check-data --config=my.py
  yolojax check-data coco:annotations/train.json:train2017 --dir coco --json
"""

import argparse

from yolojax.json_files import to_json
from yolojax.text_table import text_table

MAX_MESSAGES = 3  # of each kind; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax check-data`."""
    from yolojax.cli.flags import CONFIG_METAVAR, add_selection, allow_overrides

    allow_overrides(parser)
    add = parser.add_argument
    text = "the data set (default: data.train of --config, --against its data.val)"
    add("source", nargs="?", metavar="SOURCE", help=text)
    add(
        "--config",
        metavar=CONFIG_METAVAR,
        help="for its classes, input, anchors, side, max_boxes, dir",
    )
    add("--against", metavar="SOURCE", help="warn of pictures that are in this data set too")
    add("--dir", help="folder that relative paths in SOURCE start from")
    add_selection(parser)
    add(
        "--plot",
        metavar="FILE",
        help="plot of classes, box sizes, objects per picture and their centres",
    )
    add("--json", action="store_true", help="print JSON instead of text")


def run(args) -> int:
    """Check, print and plot -> 1 if there are errors."""
    from yolojax.cli.flags import overridden, selection_of
    from yolojax.config import Config, checked, read_config
    from yolojax.data.inspect.check import check_source
    from yolojax.data.sources.load import load_source
    from yolojax.ops.anchors import PUBLISHED_PRIORS

    if not (args.source or args.config):
        raise argparse.ArgumentError(None, "give a SOURCE, or --config with data.train.")
    config = overridden(read_config(args.config) if args.config else Config(), args)
    config = checked(config, training=False)
    data, model = config.data, config.model
    spec = args.source or data.train
    against = args.against or ("" if args.source else data.val)
    how = {"dir": data.dir if args.dir is None else args.dir, "on_bad_record": "skip"}
    selection = {"keep_classes": data.keep_classes, "rename": data.rename}
    selection |= {name: value for name, value in selection_of(args).items() if value}
    classes = () if model.tree or model.tree_file else model.classes  # else those are nodes
    source = load_source(spec, **how, classes=classes, **selection, strict=spec != data.val)
    report, summary = check_source(
        source,
        image_size=data.image_size,
        letterbox=data.letterbox,
        max_boxes=data.max_boxes,
        side=model.side,
        anchors=model.anchors or PUBLISHED_PRIORS["yolov2_voc"],
        threads=max(1, data.threads),
        other=load_source(against, **how) if against else None,
    )
    print(to_json(report, indent=2) if args.json else format_report(report))
    if args.plot:
        _plot(args.plot, report, summary)
    return 1 if report["errors"] else 0


def format_report(report: dict) -> str:
    """Format the report of `data.inspect.check.check_source` as text."""
    return "\n".join(
        [
            *_head(report),
            *report["notes"],
            "",
            *_findings("errors", report["errors"]),
            *_findings("warnings", report["warnings"]),
            "",
            *_classes(report),
            "",
            *_sizes(report),
            "",
            *_limits(report["limits"]),
        ]
    )


def _head(report) -> list[str]:
    height, width = report["settings"]["image_size"]
    how = "letterboxed" if report["settings"]["letterbox"] else "stretched"
    ignored = f" and {report['ignored']} difficult or crowd ones" if report["ignored"] else ""
    return [
        f"{report['source']}: {report['pictures']} pictures, {report['objects']} objects{ignored}",
        f"{how} to {height} x {width} (h x w)",
        *([f"compared with the pictures of {report['against']}"] if report["against"] else []),
    ]


def _findings(title: str, findings: dict[str, list[str]]) -> list[str]:
    lines = [title if findings else f"{title}: none"]
    for kind, messages in findings.items():
        lines.append(f"  {kind}: {len(messages)}")
        lines += [f"    {message}" for message in messages[:MAX_MESSAGES]]
        if len(messages) > MAX_MESSAGES:
            lines.append(f"    ... and {len(messages) - MAX_MESSAGES} more; --json has all")
    return lines


def _classes(report) -> list[str]:
    total = max(report["objects"], 1)
    rows = (
        [name, str(row["objects"]), f"{row['objects'] / total:.1%}", str(row["pictures"])]
        for name, row in report["classes"].items()
        if row["pictures"]
    )
    return [text_table(["class", "objects", "share", "pictures"], rows)]


def _sizes(report) -> list[str]:
    sizes, numbers = report["picture_sizes"], report["boxes_per_picture"]
    most = ", ".join(f"{size} ({n})" for size, n in [*sizes["most"].items()][:4])
    lines = [f"sizes of pictures: {sizes['distinct']}, most often {most}"]
    if report["objects"]:
        pixels = report["box_pixels"]
        rows = ([f"  {name}", *(f"{x:.1f}" for x in row.values())] for name, row in pixels.items())
        lines.append(text_table(["boxes, pixels of the input", *pixels["width"]], rows))
    lines.append(
        f"objects in a picture: mean {numbers['mean']:.1f}, most {numbers['most']}; "
        f"{numbers['without']} pictures without"
    )
    if dropped := numbers["beyond_max_boxes"]:
        lines.append(f"  beyond max_boxes {report['settings']['max_boxes']}: {dropped} objects")
    return lines


def _limits(limits) -> list[str]:
    v1, v2 = limits["yolov1"], limits["yolov2"]
    if not v1["objects"]:
        return ["no boxes, so no upper bound of recall"]
    grids = {
        f"YOLOv1 {v1['grid'][0]} x {v1['grid'][1]}": v1,
        f"YOLOv2 {v2['grid'][0]} x {v2['grid'][1]} x {v2['anchors']}": v2,
    }
    rows = []
    for name, bound in grids.items():
        lost = bound["objects"] - bound["assigned"]
        rows.append([name, f"{bound['recall']:.1%}", str(lost), str(bound["pictures"])])
    return [text_table(["grid", "recall at most", "objects lost", "in pictures"], rows)]


def _plot(path, report, summary) -> None:
    from yolojax.data.inspect.statistics import boxes_per_picture
    from yolojax.ops.boxes import xyxy_to_cxcywh
    from yolojax.visual.data_report import plot_data

    unit = "objects" if report["objects"] else "pictures"
    counts = {name: row[unit] for name, row in report["classes"].items()}
    height, width = report["settings"]["image_size"]
    sides = xyxy_to_cxcywh(summary.boxes_input)[:, 2:] * (width, height)
    centres = xyxy_to_cxcywh(summary.boxes)[:, :2]
    plot_data(counts, sides, boxes_per_picture(summary), centres, path)
