"""Check a loss on small problems: finite values, a right gradient, no effect of padding, and more.

LOSS is FILE.py:FUNCTION, your own loss as in docs/losses.md, or the name of a loss of yolojax. The
exit status is 1 if a check fails.

examples:
  yolojax check-loss my_losses.py:my_loss
  yolojax check-loss my_losses.py:my_loss --config.loss.arguments.power=1.5 \\
      --config.loss.class_weight=2
  yolojax check-loss my_losses.py:my_loss --head yolov1
  yolojax check-loss region --config.loss.box_loss=ciou --config.loss.objectness_loss=focal
  yolojax check-loss my_losses.py:my_loss --config yolov2_voc
"""

import argparse

HEADS = ("region", "yolov1", "classes")
CLASSES = ("a", "b", "c", "d")
TREE = (-1, -1, 0, 0)  # of those classes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax check-loss`."""
    from yolojax.cli.flags import CONFIG_METAVAR, allow_overrides

    add = parser.add_argument
    add("loss", metavar="LOSS", help="FILE.py:FUNCTION, or a name such as region")
    add(
        "--head",
        choices=HEADS,
        help="the head whose raw output the loss takes (default: that of LOSS, or region)",
    )
    add(
        "--config",
        metavar=CONFIG_METAVAR,
        help="the config with the model and the settings of the loss",
    )
    allow_overrides(parser)


def run(args) -> int:
    """Print a line for each check -> 1 if one failed."""
    from yolojax.losses.custom import is_in_file, load_maker
    from yolojax.losses.testing.checks import check_loss
    from yolojax.tasks import make_loss

    if is_in_file(args.loss):
        load_maker(args.loss)  # raises if it is missing; `make_loss` does not
    config, head = _config(args)
    checks = check_loss(make_loss(config, head), _problem(config.model, head))
    for check in checks:
        print(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.detail}")
    failed = sum(not check.passed for check in checks)
    print(f"{args.loss} ({head}): {len(checks) - failed} of {len(checks)} checks passed")
    return 1 if failed else 0


def _config(args):
    """Return the config that `args` describe, and its head."""
    from yolojax.cli.flags import overridden
    from yolojax.config import checked, read_config
    from yolojax.data.from_config import with_tree
    from yolojax.tasks import build_model

    if args.config and args.head:
        raise argparse.ArgumentError(None, "--config sets the head; leave out --head.")
    if args.config:
        config = with_tree(read_config(args.config))
        head = build_model(config.model)[1]
    else:
        head = args.head or _head_of(args.loss)
        config = _small_config(args.loss)
    config.loss.name = args.loss
    return checked(overridden(config, args)), head


def _head_of(loss: str) -> str:
    """Return the head of a loss of yolojax, "region" for others."""
    from yolojax.tasks import HEAD_LOSS, TREE_LOSS

    heads = {own[head]: head for own in (HEAD_LOSS, TREE_LOSS) for head in own}
    return heads.get(loss, "region")


def _small_config(loss: str):
    from yolojax.config import Config
    from yolojax.losses.testing.problems import ANCHORS, GRID

    config = Config()
    config.model.classes, config.model.anchors, config.model.side = CLASSES, ANCHORS, GRID
    config.model.tree = TREE if loss == "tree_classification" else ()
    return config


def _problem(model, head: str):
    """Return the problem of a head, with the sizes of `model`."""
    from yolojax.losses.testing import problems

    classes = len(model.classes)
    if head == "region":
        return problems.region_problem(
            anchors=model.anchors, classes=classes, location=model.location, tree=model.tree
        )
    if head == "yolov1":
        return problems.yolov1_problem(
            side=model.side,
            boxes=model.boxes,
            classes=classes,
            square_root=model.square_root,
            class_softmax=model.class_softmax,
        )
    return problems.classes_problem(classes=classes, tree=model.tree)
