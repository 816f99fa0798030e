"""The layers of a network: shapes, parameters and operations; no weights are made.

NAME is a published detector or a config file. BFLOPs are Darknet's: 2 * multiplications / 1e9 of
the convolutions, for one image.

examples:
  yolojax summary yolov2_voc
  yolojax summary yolov2_coco --image-size 416 416 --json
  yolojax summary configs/yolov2_voc.py --width 0.25
"""

import argparse
import json

from yolojax.naming import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `yolojax summary`."""
    from yolojax.models.published import PUBLISHED

    add = parser.add_argument
    add("name", metavar="NAME", help=f"{', '.join(PUBLISHED)}, or a config: FILE.py[:ARGUMENT]")
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="input, multiples of 32")
    add("--width", type=float, help="factor on the filters of every layer but the last")
    add("--classes", type=int, metavar="N", help="number of classes")
    add("--json", action="store_true", help="print JSON instead of text")


def run(args) -> int:
    """Print the table of the network that `args` describe."""
    from yolojax.models import build_network
    from yolojax.models.summary import format_table, layer_table, totals

    is_config = args.name.partition(":")[0].endswith(".py")
    settings, image_size = (_of_config if is_config else _of_published)(args.name)
    if args.classes is not None:
        settings["num_classes"] = args.classes
    if args.width is not None:
        settings["width"] = args.width
    if settings["num_classes"] < 1:
        raise argparse.ArgumentError(None, f"--classes must be 1 or more; got {args.classes}.")
    image_size = tuple(args.image_size or image_size)
    rows = layer_table(build_network(**settings), image_size)
    if args.json:
        layers = {"layers": [row._asdict() for row in rows]}
        print(json.dumps(settings | {"image_size": image_size} | totals(rows) | layers, indent=2))
    else:
        print(format_table(rows))
    return 0


def _of_published(name: str) -> tuple[dict, tuple[int, int]]:
    """Arguments of build_network and the image size of the published detector `name`."""
    from yolojax.models.published import PUBLISHED

    if name not in PUBLISHED:
        hint = did_you_mean(name, PUBLISHED)
        known = f"a published detector ({', '.join(PUBLISHED)}) nor a config file (FILE.py)"
        raise argparse.ArgumentError(None, f"{name!r} is neither {known}.{hint}")
    network, classes, anchors, image_size = PUBLISHED[name]
    return {"name": network, "num_classes": classes, "num_anchors": anchors}, image_size


def _of_config(name: str) -> tuple[dict, tuple[int, int]]:
    """Arguments of build_network and the image size of the config FILE.py or FILE.py:ARGUMENT."""
    from yolojax.config import read_config

    try:
        config = read_config(name)
    except FileNotFoundError as error:
        raise argparse.ArgumentError(None, str(error)) from error
    model = config.model
    settings = {"num_classes": len(model.classes), "num_anchors": len(model.anchors)}
    return settings | {"name": model.name, "width": model.width}, config.data.image_size
