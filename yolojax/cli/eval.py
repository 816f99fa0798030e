"""Evaluate a run, or Darknet weights: VOC and COCO numbers, or a classifier's top-1 and top-5.

The config is that of the run's best checkpoint. That of published .weights is recognized by their
size; others need --cfg or --config. Any field of it is set by --config.FIELD=VALUE. Writes
WORKDIR/eval/NAME.json, COCO results and VOC comp4 files next to it, and with --errors
WORKDIR/plots/NAME_errors.png.

examples:
  yolojax eval --workdir=runs/bccd --data=voc:bccd:test
  yolojax eval --workdir=runs/bccd --config.eval.iou_threshold=.5 --errors
  yolojax eval --workdir=/tmp/w --weights=yolov2-voc.weights --data=voc:VOCdevkit/VOC2007:test
  yolojax eval --workdir=/tmp/w --weights=my.weights --cfg=my.cfg --names=my.names --data=...
  yolojax eval --workdir=/tmp/w --weights=my.weights --config=yolov2_voc
"""

import argparse
import re
from functools import partial
from pathlib import Path

from yolojax.files import safe_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax eval`."""
    from yolojax.cli.flags import add_config, add_distributed

    add_config(parser, default="the model's own")
    add = parser.add_argument
    add("--workdir", required=True, help="the run to evaluate; the results are written there")
    add("--weights", metavar="FILE", help="a .weights or .safetensors file instead of a run")
    add("--cfg", metavar="FILE", help="the Darknet .cfg of --weights, instead of --config")
    add("--names", metavar="FILE", help="the class names of --weights, one a line")
    add("--data", metavar="SOURCE", help="default: config.data.val")
    add("--errors", action="store_true", help="count the kinds of error (YOLO paper, figure 4)")
    add("--name", help="of the result; default: made from --data")
    add_distributed(parser)


def run(args) -> int:
    """Evaluate what `args` describe."""
    from yolojax.cli.flags import config_of, on_devices
    from yolojax.loading import describe
    from yolojax.training.signals import exit_on_sigterm

    if args.config and (args.cfg or args.names):
        problem = "--config names network and classes; leave --cfg and --names out."
        raise argparse.ArgumentError(None, problem)
    if args.name and args.name != safe_name(args.name):
        problem = f"--name must be a file name, got {args.name!r}; try {safe_name(args.name)!r}."
        raise argparse.ArgumentError(None, problem)
    exit_on_sigterm()
    model = args.weights or args.workdir
    with on_devices(args.distributed):
        saved = partial(describe, model, cfg=args.cfg, names=args.names)
        config = config_of(args, saved, training=False)
        evaluate(config, model, args)
    return 0


def evaluate(config, model, args) -> None:
    """Evaluate `model` (a run or a file) with `config`."""
    import jax

    from yolojax.data.from_config import open_source
    from yolojax.data.tree_labels import nodes_of
    from yolojax.distributed.processes import records_folder
    from yolojax.distributed.sharding import make_mesh, replicated
    from yolojax.evaluation.dispatch import evaluation_of
    from yolojax.loading import in_words, load_model
    from yolojax.suggestions import choose

    workdir, mesh = Path(args.workdir), make_mesh()
    task, _, variables, _, _, checkpoint = load_model(model, config)
    print(in_words(checkpoint))
    evaluation = evaluation_of(task)
    choose("eval.metric", config.eval.metric, evaluation.METRICS)
    variables = jax.device_put(variables, replicated(mesh))
    source = open_source(args.data or config.data.val, config)
    name = args.name or (
        safe_name(re.sub(r"\W+", "_", args.data).strip("_")) if args.data else "val"
    )
    programs = evaluation.make_programs(task, config.eval, nodes_of(source))
    with records_folder(workdir) as records:
        evaluation.evaluate_source(
            programs, variables, source, config, mesh, records, name,
            errors=args.errors, checkpoint=checkpoint,
        )  # fmt: skip
    print(f"written: {workdir / 'eval' / name}.json")
