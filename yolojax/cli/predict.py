"""Detect objects in pictures, or classify them.

PATHS are files, folders (searched recursively) and quoted globs. The command prints one line per
picture. --out writes drawn pictures; --jsonl, --json, --csv and --txt write the results. All but
--json are written picture by picture, so what is done is there if the command is ended; --json is
written at the end, also after Ctrl-C. Folders are searched through links, without the folder
of --out. A picture that cannot be read is reported, and the exit status is then 1. Videos, URLs and
cameras are not read. Boxes are x1 y1 x2 y2 in pixels of the original from its top left corner;
--txt writes class cx cy w h score in 0..1, as Darknet does. A classifier gives the five most
probable classes and has no box options.
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
import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

from yolojax.cli.console import is_closed, print_line, progress_bar

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
    add("--jsonl", metavar="FILE", help="append a line of JSON for each picture; - prints them")
    add("--json", metavar="FILE", help="write all results as one JSON list; - prints it")
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
    from yolojax.cli import predict_files as files

    check_options(args)
    failed: list[Exception] = []

    def report(error):
        print_line(f"yolojax predict: {error}", "stderr")
        failed.append(error)

    paths = files.find_pictures(args.paths, args.out, report)
    targets = files.plan_outputs(paths, Path(args.out), args.txt) if args.out else {}
    files.check_targets(args, paths, targets)
    results = predictions(args, paths, report) if paths else iter(())
    outputs = [
        (args.out, lambda: files.drawings(targets, args.txt)),
        (args.jsonl, lambda: files.json_lines(args.jsonl)),
        (args.csv, lambda: files.csv_table(args.csv)),
        (args.json, lambda: files.json_list(args.json)),
    ]
    only_stdout = all(file in (None, "-") for file, _ in outputs)
    with ExitStack() as stack:
        stack.enter_context(sigterm_as_exit())
        count = stack.enter_context(progress_bar(len(paths)))
        writers = [stack.enter_context(output()) for wanted, output in outputs if wanted]
        for result in results:
            for write in writers:
                write(result)
            show(result, args)
            count()
            if only_stdout and is_closed("stdout"):
                break
    return 1 if failed else 0


@contextmanager
def sigterm_as_exit():
    """Raise SystemExit at SIGTERM, so that files are finished; the default ends the process."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    except ValueError:  # not the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def show(result, args) -> None:
    """Print the line of `result`; to stderr, and only if nothing is found, if stdout has data."""
    from yolojax.cli.result_text import one_line

    data_on_stdout = "-" in (args.json, args.jsonl, args.csv)
    if not data_on_stdout:
        print_line(one_line(result))
    elif not len(result.labels):
        print_line(one_line(result), "stderr")


def predictions(args, paths: list[str], on_bad):
    """Yield the results; `on_bad` gets the error of an unreadable picture."""
    from yolojax.cli.flags import config_of
    from yolojax.distributed import xla_flags
    from yolojax.loading import describe, in_words
    from yolojax.predict import Classifier, load

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
    if args.workdir:
        print_line(in_words(model.source), "stderr")
    if isinstance(model, Classifier):
        _refuse_boxes(args)
    return model.stream(paths, on_bad=on_bad, **given(args, BOX_OPTIONS))


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


def check_options(args) -> None:
    """Raise argparse.ArgumentError for options that contradict each other."""
    problems = (
        (not args.weights and (args.cfg or args.names), "--cfg and --names are for --weights"),
        (
            args.config and (args.cfg or args.names),
            "--config has network and classes; leave --cfg and --names out",
        ),
        (args.txt and not args.out, "--txt needs --out DIR"),
        (
            [args.json, args.jsonl, args.csv].count("-") > 1,
            "only one of --json, --jsonl and --csv can be -",
        ),
        (
            args.max_detections is not None and args.max_detections < 1,
            f"--max-detections must be 1 or more; got {args.max_detections}",
        ),
    )
    for wrong, message in problems:
        if wrong:
            raise argparse.ArgumentError(None, f"{message}.")
