"""Train a series of configs, each a small change of the previous one, and compare the results.

FOLDER contains overlays, sorted by name: the first defines get_config(arg), each later one
change(config). The first line of an overlay's docstring is its label in the table. Every row is
trained with every seed, one process each, in WORKDIR/ROW/seedN. The same command resumes a stopped
ablation and adds seeds or rows. --config.FIELD=VALUE changes the config of the first row.
Writes WORKDIR/ablation.md, .json and .png. The exit status is 1 if a run has failed.

examples:
  yolojax ablate ablation:small --data=voc:bccd --dir DATA --seeds 3 --workdir runs/ablation
  yolojax ablate box_terms --data=voc:VOC2007 --splits trainval,test --workdir runs/boxes
  yolojax ablate my_study --data=coco:train.json:train2017 --test=coco:val.json:val2017 \\
      --workdir runs/study --only 00_base,03_giou \\
      --config.model.width=0.25 --config.optimizer.images=64000
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax ablate`."""
    from yolojax.cli.flags import allow_overrides

    add = parser.add_argument
    add("overlays", metavar="FOLDER[:arg]", help="the overlays, and the argument of get_config")
    add(
        "--data",
        required=True,
        metavar="SOURCE",
        help="with splits, or for training together with --test",
    )
    add("--test", metavar="SOURCE", help="for evaluation, if --data has no splits")
    add("--splits", metavar="TRAIN,TEST", help="of --data (default: train,test)")
    add("--dir", default="", help="folder that relative paths in SOURCE start from")
    add("--workdir", required=True, help="folder for runs and table")
    add("--seeds", type=int, default=3, help="runs of each row (default: %(default)s)")
    add(
        "--jobs",
        type=int,
        default=1,
        help="runs at a time, which slow each other down (default: 1)",
    )
    add("--only", metavar="ROW,ROW", help="the rows to run now, by the names of their files")
    allow_overrides(parser)


def run(args) -> int:
    """Run what is not finished and write the table; return 1 if a run has failed."""
    import shlex
    import sys
    from pathlib import Path

    import jax

    from yolojax.ablation.results import read_results
    from yolojax.ablation.rows import read_rows
    from yolojax.ablation.runs import execute, plan
    from yolojax.ablation.setting import SPLITS, two_sources, with_data
    from yolojax.ablation.table import About, write_table
    from yolojax.cli.flags import overridden

    _check(args)
    jax.config.update("jax_platforms", "cpu")  # the devices are for the runs
    splits = args.splits.split(",") if args.splits else SPLITS
    train, test = two_sources(args.data, args.test, splits)

    def prepare(config):
        return overridden(with_data(config, train, test, args.dir), args)

    rows = read_rows(args.overlays, prepare)
    chosen = _chosen(rows, args.only)
    workdir = Path(args.workdir).absolute()
    runs = plan(rows, args.seeds, workdir)
    command = shlex.join(["yolojax", *sys.argv[1:]])
    about = About(args.overlays, train, test, args.seeds, command)
    failures = []
    try:
        failures = execute([r for r in runs if r.workdir.parent.name in chosen], jobs=args.jobs)
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        raise
    finally:  # finished runs count, even if the others were stopped
        print(write_table(workdir, about, read_results(rows, args.seeds, workdir), runs))
        print(f"written: {workdir / 'ablation.md'}")
    if failures:
        names = ", ".join(failure.name for failure in failures)
        print(f"yolojax ablate: failed: {names}; the same command tries again", file=sys.stderr)
    return 1 if failures else 0


def _check(args) -> None:
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            raise argparse.ArgumentError(None, f"--{name} must be 1 or more.")
    if args.test and args.splits:
        raise argparse.ArgumentError(None, "--test names the evaluation data; remove --splits.")


def _chosen(rows, only: str | None) -> list[str]:
    """The names of the rows to run.

    Raises:
        ValueError: there is no such row.
    """
    from yolojax.suggestions import did_you_mean

    known = [row.name for row in rows]
    chosen = only.split(",") if only else known
    for name in chosen:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"--only: row {name!r} is unknown; known: {', '.join(known)}.{hint}")
    return chosen
