"""Print the layers of a network: shapes, parameters and operations.

NAME is a published network or its .weights, a config file, a Darknet .cfg, the workdir of a run or
a .safetensors file. BFLOPs are 2 * multiplications / 1e9 for one image; Darknet prints the total of
the convolutions.

examples:
  yolojax summary yolov2_voc
  yolojax summary yolov2_coco --image-size 416 416 --json
  yolojax summary configs/yolov2_voc.py --config.model.width=0.25
  yolojax summary my.cfg
  yolojax summary runs/mine
"""

import argparse
import sys
from pathlib import Path

from yolojax.json_files import to_json
from yolojax.suggestions import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax summary`."""
    from yolojax.cli.flags import allow_overrides
    from yolojax.models.published import PUBLISHED

    allow_overrides(parser)
    add = parser.add_argument
    files = "a config FILE.py[:ARGUMENT], FILE.cfg, a run's folder, .safetensors or .weights"
    add("name", metavar="NAME", help=f"{', '.join(PUBLISHED)}, {files}")
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="input, multiples of 32")
    add("--width", type=float, help="factor on the filters of every layer but the last")
    add("--classes", type=int, metavar="N", help="number of classes")
    add("--json", action="store_true", help="print JSON instead of text")


def run(args) -> int:
    """Print the table of the network that `args` describe."""
    from yolojax.cli.flags import overridden
    from yolojax.config import Config, DataConfig
    from yolojax.models.summary import format_table, layer_table, totals
    from yolojax.tasks import build_model

    try:
        model, image_size, options = _describe(args.name)
    except FileNotFoundError as error:
        raise argparse.ArgumentError(None, str(error)) from error
    given = Config(model=model, data=DataConfig(image_size=image_size))
    config = overridden(given, args)
    model, image_size = config.model, config.data.image_size
    _override(model, args)
    image_size = tuple(args.image_size or image_size)
    network, head = build_model(model)
    rows = layer_table(network, image_size)
    if args.json:
        about = {"name": args.name, "network": model.name, "width": model.width, "head": head}
        layers = {"layers": [row._asdict() for row in rows]}
        about |= {"options": options, "image_size": image_size}
        print(to_json(about | totals(rows) | layers, indent=2))
    else:
        print(format_table(rows))
        if options:
            print(f"{head}: {', '.join(f'{key} {value}' for key, value in options.items())}")
    return 0


def _describe(name: str):
    """Return the ModelConfig, the image size and, for a .cfg, the options of its head."""
    from yolojax.cli.flags import check_cfg_suffix
    from yolojax.darknet.data_files import file_next_to
    from yolojax.models.published import PUBLISHED

    if name in PUBLISHED:
        return *_of_published(PUBLISHED[name]), {}
    if name.endswith(".cfg"):
        return _of_cfg(name)
    if name.partition(":")[0].endswith(".py"):
        return *_of_config(name), {}
    if Path(name).is_dir() or name.endswith(".safetensors"):
        return *_of_model(name), {}
    check_cfg_suffix(name)
    if Path(name).is_file() or name.endswith(".weights"):
        beside = file_next_to(Path(name), ".cfg") if Path(name).is_file() else None
        return _of_cfg(str(beside)) if beside else (*_of_weights(name), {})
    raise argparse.ArgumentError(None, _unknown(name, PUBLISHED))


def _override(model, args) -> None:
    """Set --width and --classes in `model`."""
    if model.cfg and (args.width, args.classes) != (None, None):
        raise argparse.ArgumentError(None, "--width and --classes are not for a .cfg; edit it.")
    if args.width is not None:
        model.width = args.width
    if args.classes is not None:
        model.classes = ("",) * args.classes
    if not (model.classes or model.cfg):
        raise argparse.ArgumentError(None, f"--classes must be 1 or more; got {args.classes}.")


def _unknown(name: str, published) -> str:
    """Return the error message for an unknown NAME."""
    versions = [known for known, entry in published.items() if entry.network == name]
    if versions:
        return f"{name!r} was published as {' and as '.join(versions)}; give one of them."
    either = f"a published network ({', '.join(published)}) nor a file or folder"
    return f"{name!r} is neither {either}.{did_you_mean(name, published)}"


def _of_published(known):
    """Return the ModelConfig and the image size of a `Published`."""
    from yolojax.config import ModelConfig

    model = ModelConfig(
        name=known.network,
        classes=("",) * known.classes,
        anchors=((1.0, 1.0),) * known.boxes,
        boxes=known.boxes,
        side=known.side,
    )
    return model, known.image_size


def _of_config(name: str):
    from yolojax.config import checked, read_config

    config = checked(read_config(name), training=False)
    return config.model, config.data.image_size


def _of_model(path: str):
    from yolojax.loading import describe

    config = describe(path)
    return config.model, config.data.image_size


def _of_weights(path: str):
    from yolojax.darknet.published_files import explain, recognise
    from yolojax.models.published import PUBLISHED

    entry = recognise(path)
    note = explain(path, entry)
    if entry is None:
        raise argparse.ArgumentError(None, note)
    if note:
        print(note, file=sys.stderr)
    model, image_size = _of_published(PUBLISHED[entry.network])
    model.boxes = entry.boxes or model.boxes
    return model, image_size


def _of_cfg(name: str):
    from yolojax.config import ModelConfig
    from yolojax.darknet.cfg import known_name, parse_cfg
    from yolojax.files import read_text

    text = read_text(name, "a .cfg")
    cfg = parse_cfg(text, name)
    if cfg.note:
        print(cfg.note, file=sys.stderr)
    model = ModelConfig(name=known_name(cfg.table) or "", cfg=text)
    if getattr(cfg.head, "tree", ""):  # the layers do not depend on it, and any one will do
        model.tree, model.classes = (-1,), ("",)
    return model, (cfg.net.height, cfg.net.width), _given(cfg.head)


def _given(head) -> dict:
    """Return the options of a .cfg's head that are set."""
    return {key: value for key, value in head._asdict().items() if value != ""}
