"""Evaluate a run, or Darknet weights: VOC and COCO numbers, or a classifier's top-1 and top-5.

    python eval.py --workdir=runs/bccd --data=voc:bccd:test
    python eval.py --workdir=runs/bccd --config.eval.iou_threshold=.5 --errors
    python eval.py --workdir=/tmp/w --weights=yolov2-voc.weights --data=voc:VOCdevkit/VOC2007:test
    python eval.py --workdir=/tmp/w --weights=my.weights --cfg=my.cfg --names=my.names --data=...
    python eval.py --workdir=/tmp/w --weights=my.weights --config=configs/yolov2_voc.py

The config of published .weights is known by their size; --config.FIELD changes it all the same.

Writes WORKDIR/eval/NAME.json and, beside it, COCO results and VOC comp4 files; with --errors also
WORKDIR/plots/NAME_errors.png.
"""

import gc

if __name__ == "__main__":
    # As in train.py: what imports and tracing make stays.
    gc.set_threshold(1_000_000, 50, 100)

import re
import sys
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from yolojax.cli.flags import run_main
from yolojax.cli.saved_config import with_saved_config
from yolojax.config import checked
from yolojax.data.from_config import open_source, with_tree
from yolojax.data.tree_labels import nodes_of
from yolojax.distributed.processes import records_folder
from yolojax.distributed.sharding import make_mesh, replicated
from yolojax.evaluation.dispatch import evaluation_of
from yolojax.loading import load_model
from yolojax.suggestions import choose
from yolojax.training.signals import end_at_once

WORKDIR = flags.DEFINE_string("workdir", None, "the run to evaluate, and where the results go")
WEIGHTS = flags.DEFINE_string("weights", None, "a .weights or .safetensors file instead of a run")
CFG = flags.DEFINE_string("cfg", None, "the Darknet .cfg of --weights, instead of --config")
NAMES = flags.DEFINE_string("names", None, "the class names of --weights, a line each")
DATA = flags.DEFINE_string("data", None, "a SOURCE; the default is config.data.val")
ERRORS = flags.DEFINE_bool("errors", False, "what kinds of error are made (YOLO paper, figure 4)")
NAME = flags.DEFINE_string("name", None, "of the result; the default is made from the SOURCE")
CONFIG = config_flags.DEFINE_config_file("config", None, "the default is the run's own")
flags.mark_flags_as_required(["workdir", "config"])


def main() -> None:
    """Evaluate what the command line says."""
    end_at_once()
    config, workdir, mesh = with_tree(checked(CONFIG.value)), Path(WORKDIR.value), make_mesh()
    task, _, variables, *_ = load_model(WEIGHTS.value or workdir, config)
    evaluation = evaluation_of(task)
    choose("eval.metric", config.eval.metric, evaluation.METRICS)
    variables = jax.device_put(variables, replicated(mesh))
    source = open_source(DATA.value or config.data.val, config)
    name = NAME.value or (re.sub(r"\W+", "_", DATA.value).strip("_") if DATA.value else "val")
    programs = evaluation.make_programs(task, config.eval, nodes_of(source))
    with records_folder(workdir) as records:
        evaluation.evaluate_source(
            programs, variables, source, config, mesh, records, name, errors=ERRORS.value
        )
    print(f"written: {workdir / 'eval' / name}.json")


if __name__ == "__main__":
    sys.argv = with_saved_config(sys.argv)
    run_main(main)
