"""Convert a model to another format.

SRC is a .weights file and its .cfg, published .weights (recognised by their size), .weights with
--config, a .safetensors file from this command, or the workdir of a run. The suffix of DST selects
the format:

  DST              the workdir of a run for train.py, eval.py and `yolojax predict`; schedules
                   resume at the images seen, with a new optimizer state
  DST.weights      for Darknet and OpenCV, with DST.cfg and DST.names
  DST.conv.23      only the layers before 23, for Darknet or --config.init_from
  DST.safetensors  the parameters by name, and the config
  DST.onnx         for ONNX Runtime and others; images float32 [B, 3, H, W] in 0..1
  DST.stablehlo    for jax.export (needs only jax and flatbuffers), any batch size, on CPU, GPU and
                   TPU; images [B, H, W, 3], uint8 (float32 in 0..1 where config.data.resize is
                   "darknet")

examples:
  yolojax convert yolov2-voc.cfg yolov2-voc.weights --names voc.names --to runs/voc
  yolojax convert yolov2-voc.weights --to yolov2-voc.onnx --nms --verify dog.jpg
  yolojax convert runs/mine --to mine.weights
  yolojax convert my.cfg darknet19_448.conv.23 --upto 23 --to runs/start
"""

import argparse
import time
from pathlib import Path

WITH_NMS = (".onnx", ".stablehlo")
VERSIONS = {"0.2": (0, 2, 0), "0.1": (0, 1, 0)}  # of the header; `seen` has 32 bits in 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax convert`."""
    add = parser.add_argument
    add("sources", nargs="+", metavar="SRC", help="a model and, for .weights, its .cfg")
    add("--to", required=True, metavar="DST", help="file or folder to write")
    add("--config", help="the configs/NAME.py of .weights, instead of a .cfg")
    add("--names", metavar="FILE", help="class names of .weights, one per line")
    add("--upto", type=int, metavar="N", help="the .weights have only the layers before N")
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="default: the source's")
    add("--nms", action="store_true", help="add NMS to the .onnx or .stablehlo")
    add(
        "--darknet-version", choices=VERSIONS, help="of the .weights header (default: the source's)"
    )
    add("--clear", action="store_true", help="set the images seen to 0, as Darknet's -clear")
    add("--force", action="store_true", help="replace files that exist; never a folder")
    add("--verify", metavar="PICTURE", help="compare the outputs of both formats")


def run(args) -> int:
    """Convert and print a report -> 1 if --verify fails."""
    from yolojax.saving import check_free, save_model

    source, cfg = split_sources(args.sources)
    options = check_options(args, cfg)
    check_free(args.to, force=args.force)
    picture = read_picture(args.verify) if args.verify else None
    start = time.monotonic()
    model = load_source(args, source, cfg)
    save_model(args.to, model, **options)
    print(report(args, source, model, time.monotonic() - start))
    return verify(args, model, picture) if args.verify else 0


def split_sources(sources: list[str]) -> tuple[str, str | None]:
    """Return the model and its .cfg or None.

    Raises:
        argparse.ArgumentError: there is not exactly one model, or more than one .cfg, or a .cfg
            has another suffix.
    """
    from yolojax.cli.flags import check_cfg_suffix

    cfgs = [source for source in sources if source.endswith(".cfg")]
    models = [source for source in sources if not source.endswith(".cfg")]
    for model in models:
        check_cfg_suffix(model)
    if len(models) != 1 or len(cfgs) > 1:
        raise argparse.ArgumentError(
            None, f"SRC must be one model and, for .weights, its .cfg; got {' '.join(sources)}."
        )
    return models[0], cfgs[0] if cfgs else None


def check_options(args, cfg: str | None) -> dict:
    """Return the options of `save_model`; raise argparse.ArgumentError for contradictions."""
    from yolojax.saving import format_of

    fmt = format_of(args.to)
    problems = (
        (cfg and args.config, "a .cfg and --config both describe the network; give one of them"),
        (args.nms and fmt not in WITH_NMS, f"--nms is for {' and '.join(WITH_NMS)}"),
        (args.darknet_version and fmt != ".weights", "--darknet-version is for .weights"),
        (
            args.upto is not None and not (cfg or args.config),
            "--upto needs the .cfg or --config of the whole network",
        ),
    )
    for wrong, message in problems:
        if wrong:
            raise argparse.ArgumentError(None, f"{message}.")
    if fmt == ".weights":
        return {"version": VERSIONS.get(args.darknet_version)}
    return {"nms": args.nms} if fmt in WITH_NMS else {}


def load_source(args, source: str, cfg: str | None):
    """Load the model, apply --image-size and --clear."""
    from yolojax.config import checked, read_config
    from yolojax.loading import load_model, resized

    config = checked(read_config(args.config), training=False) if args.config else None
    model = load_model(source, config, cfg=cfg, names=args.names, upto=args.upto)
    model = resized(model, tuple(args.image_size)) if args.image_size else model
    return model._replace(seen=0) if args.clear else model


def read_picture(path: str):
    """Read the picture in `path`, uint8 RGB [h, w, 3]."""
    from yolojax.data.records import decode_image, read_bytes

    return decode_image(read_bytes(Path(path)), path)


def report(args, source: str, model, seconds: float) -> str:
    """Format what was written, the new layers of --upto, and whether the training is complete."""
    import jax

    from yolojax.saving import RUN, files_of, format_of

    table = model.task.model.table
    floats = sum(leaf.size for leaf in jax.tree.leaves(model.variables))
    files = files_of(args.to, tree=bool(model.config.model.tree))
    text = (
        f"{source} -> {', '.join(map(str, files))}\n"
        f"{model.config.model.name}: {len(table)} layers, {floats:,} floats, {model.seen:,} images "
        f"seen, {seconds:.1f} s"
    )
    length = model.config.optimizer.images
    if format_of(args.to) == RUN and model.seen >= length:
        text += (
            f"\nits training of {length:,} images is complete, so train.py does nothing; "
            f"start a new run with --config.init_from={args.to}, or convert it with --clear"
        )
    if args.upto is None:
        return text
    new = [layer.name for layer in table[args.upto :] if getattr(layer, "name", "")]
    return (
        f"{text}\nloaded: the layers before {args.upto}; initialised from config.seed "
        f"{model.config.seed}: {', '.join(new) or 'none'}"
    )


def verify(args, model, picture) -> int:
    """Compare the written file with `model` on `picture` and print the result -> 1 if they differ.

    A format may use another dtype or epsilon than its source. Both are compared in the same mode;
    the effect of this mode on the source is reported separately.
    """
    from yolojax.data.transforms import fitter
    from yolojax.export.verify import LIMIT, Mode, format_differences, format_mode, worst

    data = model.config.data
    image, _ = fitter(data.letterbox, data.resize)(picture, tuple(data.image_size))
    mode, rows = compare(args.to, model, image[None], nms=args.nms)
    print(format_differences(rows))
    if mode != Mode.of(model.config):
        print(format_mode(model, mode, image[None]))
    largest = worst(rows)
    good = largest <= LIMIT  # False for NaN
    words = "the formats agree" if good else "the formats differ"
    print(f"{words}: the largest difference is {largest:.2g} standard deviations of its layer")
    return 0 if good else 1


def compare(target: str, model, image, *, nms: bool):
    """Compare `model` with the file `target` on `image` [1, H, W, 3] -> (mode, differences)."""
    from yolojax.export import verify
    from yolojax.loading import load_model
    from yolojax.saving import format_of, upto_of

    fmt, path, mode = format_of(target), Path(target), verify.Mode.of(model.config)
    if fmt == ".onnx":
        mode = mode._replace(dtype="float32")
        return mode, verify.compare_onnx(verify.in_mode(model, mode), image, nms=nms)
    if fmt == ".stablehlo":
        # Two bfloat16 programs round differently, so a float32 export is compared instead.
        path, mode = (path if mode.dtype == "float32" else None), mode._replace(dtype="float32")
        return mode, verify.compare_stablehlo(path, verify.in_mode(model, mode), image, nms=nms)
    if (upto := upto_of(path)) is not None:
        again = load_model(path, model.config, upto=upto)
        return mode, verify.compare_layers(model, again, image)[:upto]
    files = {"cfg": path.with_suffix(".cfg"), "names": path.with_suffix(".names")}
    again = load_model(path, **files if fmt == ".weights" else {})
    mode = verify.Mode.of(again.config)
    return mode, verify.compare_layers(verify.in_mode(model, mode), again, image)
