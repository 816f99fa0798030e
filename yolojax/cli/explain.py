"""What the loss of a run does to one picture, as one figure.

IMAGE is an image id, a file or an index in the data that the run is trained on, or in --data. Drawn
are the truths, the cells and anchors that answer for them, what is detected, and of each term of
the loss what each cell costs. The best checkpoint is used; nothing is augmented. During training
--config.explain_every=N draws such a figure every N steps, for TensorBoard and plots/explain.png.

examples:
  yolojax explain 000005 --workdir runs/voc
  yolojax explain 17 --workdir runs/quickstart --data shapes:val --out scene.png
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `yolojax explain`."""
    add = parser.add_argument
    add("image", metavar="IMAGE")
    add("--workdir", required=True, help="folder of a training run")
    add("--data", metavar="SOURCE", default="", help="default: config.data.train of the run")
    add("--out", metavar="FILE", help="default: plots/explain_IMAGE.png of the run")


def run(args) -> int:
    """Explain, write the figure, print its numbers."""
    from pathlib import Path

    from yolojax.distributed import xla_flags
    from yolojax.explain import explain_picture
    from yolojax.visual.draw import save_image

    xla_flags.set_up()
    found = explain_picture(args.workdir, args.image, data=args.data)
    name = found.image_id.replace("/", "_")
    target = Path(args.out or Path(args.workdir) / "plots" / f"explain_{name}.png")
    save_image(target, found.figure)
    terms = ", ".join(f"{name} {value:.4g}" for name, value in found.terms.items())
    print(f"{found.image_id}: loss {found.loss:.4g}" + (f" ({terms})" if terms else ""))
    print(f"{target}: the figure")
    return 0
