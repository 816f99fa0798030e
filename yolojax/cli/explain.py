"""Draw the loss of one picture: assigned anchors, detections, and each term in each cell.

IMAGE is an image id, a file or an index in the training data of the run, or in --data. The best
checkpoint is used, without augmentation. In training, --config.explain_every=N draws the figure
every N steps, for TensorBoard and plots/explain.png.

examples:
  yolojax explain 000005 --workdir runs/voc
  yolojax explain 17 --workdir runs/quickstart --data shapes:val --out scene.png
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax explain`."""
    add = parser.add_argument
    add("image", metavar="IMAGE")
    add("--workdir", required=True, help="folder of a training run")
    add("--data", metavar="SOURCE", default="", help="default: config.data.train of the run")
    add("--out", metavar="FILE", help="default: plots/explain_IMAGE.png of the run")


def run(args) -> int:
    """Write the figure and print its numbers."""
    from pathlib import Path

    from yolojax.distributed import xla_flags
    from yolojax.explain import explain_picture
    from yolojax.files import safe_name
    from yolojax.visual.draw import save_image

    xla_flags.set_up()
    explained = explain_picture(args.workdir, args.image, data=args.data)
    default = Path(args.workdir) / "plots" / f"explain_{safe_name(explained.image_id)}.png"
    target = Path(args.out or default)
    save_image(target, explained.figure)
    terms = ", ".join(f"{name} {value:.4g}" for name, value in explained.terms.items())
    print(f"{explained.image_id}: loss {explained.loss:.4g}" + (f" ({terms})" if terms else ""))
    print(f"{target}: the figure")
    return 0
