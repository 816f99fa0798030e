"""Detect objects in pictures, or classify them.

PATHS are files, folders (searched recursively) and quoted globs. The command prints one line per
picture. --out writes drawn pictures; --json, --csv and --txt write the results. Boxes are
x1 y1 x2 y2 in pixels of the original from its top left corner; --txt writes class cx cy w h score
in 0..1, as Darknet does. A classifier gives the five most probable classes and has no box options.
With a class tree, a detection gets the deepest node that reaches --tree-threshold; the path to it
is printed and written to JSON and CSV with the wnid.

examples:
  yolojax predict dog.jpg --workdir runs/shapes --out drawn
  yolojax predict photos "more/*.png" --workdir runs/voc --json detections.json --threshold 0.4
  yolojax predict dog.jpg --weights yolov2-voc.weights --json -
  yolojax predict dog.jpg --weights tiny.weights
  yolojax predict dog.jpg --weights yolo9000.weights --cfg yolo9000.cfg --tree-threshold 0.8
  yolojax predict dog.jpg --weights my.weights --cfg my.cfg --names my.names --threshold 0.2
"""

import argparse
import glob
import os
import sys
from pathlib import Path

from yolojax.files import PICTURE_SUFFIXES, is_picture, write_text

BATCH = 8  # pictures per batch, at most
BOX_OPTIONS = ("threshold", "iou", "max_detections")  # defaults: those of Detector.stream
TREE_OPTIONS = ("tree_threshold", "tree_semantics")  # defaults: those of config.eval


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax predict`."""
    from yolojax.cli.flags import allow_overrides

    add = parser.add_argument
    add("paths", nargs="+", metavar="PATHS")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--workdir", help="folder of a training run; its best checkpoint is used")
    model.add_argument("--weights", help="Darknet .weights, or .safetensors of `yolojax convert`")
    add("--cfg", help="the Darknet .cfg of .weights that were not published")
    add("--names", help="the class names of .weights, one per line")
    add("--config", help="the config that describes the network, instead of --cfg")
    allow_overrides(parser)
    add("--out", metavar="DIR", help="write drawn pictures here, in the folders of the inputs")
    add("--json", metavar="FILE", help="write all detections as JSON; - prints them")
    add("--csv", metavar="FILE", help="write all detections as CSV; - prints them")
    add("--txt", action="store_true", help="write a Darknet text file next to each drawn picture")
    add("--threshold", type=_share, help="least score (default: 0.25)")
    add("--iou", type=_share, help="IoU above which NMS drops a box (default: 0.45)")
    add("--max-detections", type=int, help="per picture (default: 100)")
    add("--tree-threshold", type=_share, help="least probability of a node of the class tree")
    add("--tree-semantics", choices=("paper", "darknet"), help="see docs/wordtree.md")
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="default: the config's")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1; got {text}")
    return value


def run(args) -> int:
    """Predict for all pictures and write the results -> 1 if a picture cannot be read."""
    from yolojax.cli.result_text import as_csv, as_json, one_line

    check_options(args)
    paths = find_pictures(args.paths)
    targets = plan_outputs(paths, Path(args.out), args.txt) if args.out else {}
    quiet = "-" in (args.json, args.csv)  # stdout is for JSON or CSV only
    failed: list[Exception] = []
    rows, tree = [], False
    for result in predictions(args, paths, failed.append):
        rows.append(result.to_dict())
        tree = bool(result.tree)
        if not quiet or not len(result.labels):
            _print(one_line(result), sys.stderr if quiet else sys.stdout)
        if args.out:
            write_outputs(result, targets[result.file], args.txt)
    if args.json:
        _write(args.json, as_json(rows))
    if args.csv:
        _write(args.csv, as_csv(rows, tree))
    return 1 if failed else 0


def predictions(args, paths: list[str], on_bad):
    """Yield the results with a progress bar; `on_bad` gets the error of an unreadable picture."""
    from yolojax.cli.flags import config_of
    from yolojax.distributed import xla_flags
    from yolojax.loading import describe
    from yolojax.predict import Classifier, load
    from yolojax.progress import progress

    def report(error):
        _print(f"yolojax predict: {error}", sys.stderr)
        on_bad(error)

    xla_flags.set_up()
    path, about = args.workdir or args.weights, {"cfg": args.cfg, "names": args.names}
    if args.overrides:
        config, about = config_of(args, saved=lambda: describe(path, **about), training=False), {}
    else:
        config = args.config
    model = load(
        path,
        config=config,
        **about,
        image_size=args.image_size,
        batch_size=min(BATCH, len(paths)),
        **given(args, TREE_OPTIONS),
    )
    if isinstance(model, Classifier):
        _refuse_boxes(args)
    results = model.stream(paths, on_bad=report, **given(args, BOX_OPTIONS))
    return progress(results, total=len(paths), unit="picture")


def given(args, names: tuple[str, ...]) -> dict:
    """Return those of the options `names` that are set."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _refuse_boxes(args) -> None:
    """Raise argparse.ArgumentError for options that a classifier does not have."""
    flags = [f"--{name.replace('_', '-')}" for name in given(args, BOX_OPTIONS)]
    flags += ["--txt"] * args.txt
    if flags:
        problem = "is a classifier, which detects no boxes; leave out"
        raise argparse.ArgumentError(
            None, f"{args.workdir or args.weights} {problem} {', '.join(flags)}."
        )


def _print(text: str, file) -> None:
    """Print a line above the progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=file)


def check_options(args) -> None:
    """Raise argparse.ArgumentError for options that contradict each other."""
    problems = (
        (not args.weights and (args.cfg or args.names), "--cfg and --names are for --weights"),
        (
            args.config and (args.cfg or args.names),
            "--config has network and classes; leave --cfg and --names out",
        ),
        (args.txt and not args.out, "--txt needs --out DIR"),
        (args.json == "-" and args.csv == "-", "only one of --json and --csv can be -"),
        (
            args.max_detections is not None and args.max_detections < 1,
            f"--max-detections must be 1 or more; got {args.max_detections}",
        ),
    )
    for wrong, message in problems:
        if wrong:
            raise argparse.ArgumentError(None, f"{message}.")


def find_pictures(paths: list[str]) -> list[str]:
    """Return the files in `paths` (files, folders, globs), each once.

    A file that is named may have any suffix; if it is missing, it is an unreadable picture.

    Raises:
        argparse.ArgumentError: there are no pictures.
    """
    files: dict[str, None] = {}
    for path in paths:
        if Path(path).is_dir():
            inside = sorted(p for p in Path(path).rglob("*") if is_picture(p))
            files.update(dict.fromkeys(str(p) for p in inside))
        elif glob.has_magic(path) and not Path(path).exists():
            inside = sorted(glob.glob(path, recursive=True))
            files.update(dict.fromkeys(p for p in inside if is_picture(p)))
        else:
            files[path] = None
    if not files:
        raise argparse.ArgumentError(
            None, f"no pictures ({', '.join(PICTURE_SUFFIXES)}) in: {' '.join(paths)}"
        )
    return list(files)


def plan_outputs(paths: list[str], out: Path, txt: bool) -> dict[str, Path]:
    """Return the path in `out` of each input's drawing: its path below the common folder.

    Raises:
        argparse.ArgumentError: a drawing would overwrite an input, or two have the same path.
    """
    inputs = {path: Path(os.path.abspath(path)) for path in paths}
    common = os.path.commonpath([p.parent for p in inputs.values()])
    targets = {path: out / p.relative_to(common) for path, p in inputs.items()}
    targets = {k: t if is_picture(t) else Path(f"{t}.png") for k, t in targets.items()}
    taken: dict[Path, str] = {}
    originals = {p.resolve() for p in inputs.values()}
    for path, target in targets.items():
        for file in (target, target.with_suffix(".txt")) if txt else (target,):
            if file.resolve() in originals:
                raise argparse.ArgumentError(None, f"--out {out} would overwrite the input {file}.")
            if file in taken:
                raise argparse.ArgumentError(
                    None, f"{taken[file]} and {path} would both write {file}; run them separately."
                )
            taken[file] = path
    return targets


def write_outputs(result, target: Path, txt: bool) -> None:
    """Write the drawing of `result` and, with `txt`, the text file next to it."""
    from yolojax.cli.result_text import as_darknet
    from yolojax.visual.draw import save_image

    save_image(target, result.draw())
    if txt:
        _write(target.with_suffix(".txt"), as_darknet(result))


def _write(target: str | Path, text: str) -> None:
    if str(target) == "-":
        sys.stdout.write(text)
        return
    write_text(target, text)
