"""Start-up time: imports, and the first training step with and without cached programs.

    JAX_PLATFORMS=cpu python benchmarks/start.py [--rounds 5] [--starts 3] [--json FILE]

Imports are timed in a new process each; "nothing" is Python alone. The first step is that of
configs/quickstart.py:smoke, from the start of `python train.py` until its goodput.jsonl has a step.
"cold" starts with an empty cache of compiled programs; "warm" is the same command with another
workdir. "ten sizes" has ten image sizes, 64 to 352, whose steps are compiled before the first one.
Times are medians with minimum and maximum, and the median processor time. Python may write .pyc
files regardless of the environment.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import spread

ROOT = Path(__file__).parents[1]
GOALS = {"import yolojax": 1.5, "first step, warm": 5.0}  # seconds
TEN_SIZES = f"--config.data.multiscale={tuple(range(64, 353, 32))}"
IMPORTS = {
    "nothing": "pass",
    "import yolojax": "import yolojax",
    "import jax": "import jax",
    "import yolojax.predict": "import yolojax.predict",
    "import yolojax.train": "import yolojax.train",
}
PATIENCE = 600  # seconds that a start may take
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
Times = list[tuple[float, float]]  # seconds by the clock and of processors


def processor_seconds() -> float:
    """What all child processes took that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def import_seconds(statement: str) -> tuple[float, float]:
    """Seconds of a new process that runs `statement`, by the clock and of processors."""
    start, before = time.perf_counter(), processor_seconds()
    subprocess.run([sys.executable, "-c", statement], cwd=ROOT, env=ENVIRONMENT, check=True)
    return time.perf_counter() - start, processor_seconds() - before


def first_step_seconds(workdir: Path, cache: Path, *more: str) -> tuple[float, float]:
    """Seconds from the start of train.py until its first step is done; it is ended then.

    They are by the clock and of processors; `more` are flags of train.py.

    Raises:
        RuntimeError: it has ended, or PATIENCE seconds have passed.
    """
    flags = ["--config=configs/quickstart.py:smoke", f"--workdir={workdir}"]
    one_step = "--config.optimizer.images=8"  # a batch
    command = [sys.executable, "train.py", *flags, one_step, *more]
    environment = ENVIRONMENT | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start, before, goodput = time.perf_counter(), processor_seconds(), workdir / "goodput.jsonl"
    with subprocess.Popen(command, cwd=ROOT, env=environment, **quiet) as process:
        try:
            while not (goodput.exists() and '"event": "training"' in goodput.read_text()):
                if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                    raise RuntimeError(f"no step was made; run {' '.join(command)}")
                time.sleep(0.02)
            wall = time.perf_counter() - start
        finally:
            process.kill()
    return wall, processor_seconds() - before


def starts(count: int, what: str, *more: str) -> dict[str, Times]:
    """Seconds to the first step, `count` pairs of a cold and a warm start with these flags."""
    times = {f"{what}, cold": [], f"{what}, warm": []}
    for _ in range(count):
        with tempfile.TemporaryDirectory() as temporary:
            for name, found in times.items():
                workdir = Path(temporary) / name.split()[-1]
                found.append(first_step_seconds(workdir, Path(temporary) / "cache", *more))
    return times


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="of the imports")
    parser.add_argument("--starts", type=int, default=3, help="pairs of a cold and a warm one")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    options = parser.parse_args()
    times: dict[str, Times] = {name: [] for name in IMPORTS}
    for turn in range(options.rounds + 1):  # the first one writes .pyc files
        for name, statement in IMPORTS.items():
            seconds = import_seconds(statement)
            times[name] += [seconds] if turn else []
    times |= starts(options.starts, "first step") if options.starts else {}
    times |= starts(1, "ten sizes", TEN_SIZES) if options.starts else {}
    print("python benchmarks/start.py", *sys.argv[1:])
    print(f"python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores")
    rows = {}
    for name, found in times.items():
        wall, cpu = zip(*found, strict=True)
        rows[name] = row = spread(wall) | {"cpu": statistics.median(cpu)}
        clock = f"{row['median']:>8.2f} s  [{row['min']:.2f}, {row['max']:.2f}]"
        print(f"{name:<24}{clock:<28}{row['cpu']:>8.2f} s of CPU")
    for name in GOALS.keys() & rows.keys():
        kept = rows[name]["median"] <= GOALS[name]
        print(f"goal: {name} in at most {GOALS[name]} s: {'kept' if kept else 'missed'}")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
