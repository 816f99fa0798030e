"""Evaluate a run, or Darknet weights: VOC 2007, VOC 2010 and COCO numbers in one pass.

    python eval.py --workdir=runs/bccd --data=voc:bccd:test
    python eval.py --workdir=runs/bccd --config.eval.iou_threshold=.5
    python eval.py --workdir=/tmp/w --weights=yolov2-voc.weights --config=configs/yolov2_voc.py

Writes WORKDIR/eval/NAME.json and, beside it, COCO results and VOC comp4 files.
"""

import re
import sys
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from yolojax.config import checked
from yolojax.data.doors import open_source
from yolojax.evaluation.detect import make_programs
from yolojax.evaluation.evaluator import METRICS
from yolojax.evaluation.run import evaluate_source
from yolojax.predict import load_task
from yolojax.sharding import make_mesh, replicated
from yolojax.tasks import choose
from yolojax.training.flags import run_main
from yolojax.training.programs import use_compilation_cache
from yolojax.training.saved_config import with_saved_config

WORKDIR = flags.DEFINE_string("workdir", None, "the run to evaluate, and where the results go")
WEIGHTS = flags.DEFINE_string("weights", None, "a Darknet .weights file instead of a checkpoint")
DATA = flags.DEFINE_string("data", None, "a SOURCE; the default is config.data.val")
NAME = flags.DEFINE_string("name", None, "of the result; the default is made from the SOURCE")
CONFIG = config_flags.DEFINE_config_file("config", None, "the default is the run's own")
flags.mark_flags_as_required(["workdir", "config"])


def main() -> None:
    """Evaluate what the command line says."""
    use_compilation_cache()
    config, workdir, mesh = checked(CONFIG.value), Path(WORKDIR.value), make_mesh()
    choose("eval.metric", config.eval.metric, METRICS)
    task, _, variables = load_task(WEIGHTS.value or workdir, config)
    variables = jax.device_put(variables, replicated(mesh))
    source = open_source(DATA.value or config.data.val, config)
    name = NAME.value or (re.sub(r"\W+", "_", DATA.value).strip("_") if DATA.value else "val")
    programs = make_programs(task, config.eval)
    evaluate_source(programs, variables, source, config, mesh, workdir, name)
    print(f"written: {workdir / 'eval' / name}.json")


if __name__ == "__main__":
    sys.argv = with_saved_config(sys.argv)
    run_main(main)
