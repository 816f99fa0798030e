"""Feed changed files to every reader: it reads them, or raises one clear ValueError.

    python tests/fuzz.py --inputs 1000000 --jobs 2 --save /tmp/failures
    python tests/fuzz.py --inputs 10000 --formats coco,cfg --seed 7

A failure is: an exception that is no ValueError (BadRecord is one) and no FileNotFoundError of our
own; a message that does not name the file or has several lines; more than SECONDS or MEMORY for one
input; a result with impossible values; or success on bytes that break the grammar of the format.
The exit status is 1 if there is a failure; --save keeps one input of each kind.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import jax  # noqa: E402

jax.config.update("jax_platforms", "cpu")

from fuzz_data import Format, coco, pictures, voc, yolo  # noqa: E402
from fuzz_models import checkpoints, darknet, run_files  # noqa: E402
from mutations import spliced  # noqa: E402

SECONDS = 2.0  # of the processor, for one input
WAIT = 20.0  # seconds that pass, also while the reader is blocked or the machine is busy
MEMORY = 500 * 2**10  # KiB that one input may add
LONGEST_MESSAGE = 2000
FOLDER = "yolojax-fuzz-"  # start of the name of the folder with all files


class Hang(BaseException):
    """One input took longer than SECONDS, or WAIT."""


def fuzz_one(form: Format, data: bytes) -> tuple[bool, str]:
    """Read `data` -> (whether it was accepted, the failure or "")."""
    try:
        form.file.write_bytes(data)
        with limited(form.file) as over:
            result = form.read()
            wrong = form.check(result, data)
        return True, over() or (f"wrong success: {wrong}" if wrong else "")
    except Hang:
        return False, f"hang: more than {SECONDS} s"
    except (ValueError, FileNotFoundError) as error:
        return False, message_fault(error, form.file)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return False, f"{type(error).__name__}: {str(error)[:200]!r} at {place_of(error)}"


def message_fault(error: Exception, file: Path) -> str:
    """Say what is wrong with the message of an error that a reader may raise."""
    text, where = str(error), place_of(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"raw {type(error).__name__}: {text[:200]!r} at {where}"
    if isinstance(error, UnicodeError | json.JSONDecodeError):
        return f"raw {type(error).__name__}: {text[:200]!r} at {where}"
    if FOLDER not in text and "/etc/passwd" not in text:  # a picture that an input names
        return f"no file named: {text[:200]!r} at {where}"
    if "\n" in text or len(text) > LONGEST_MESSAGE:
        return f"not one short line: {len(text)} characters, {text[:200]!r} at {where}"
    return ""


def place_of(error: BaseException) -> str:
    """Return FILE:LINE of the innermost frame in the package."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/yolojax/" in f.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


@contextlib.contextmanager
def limited(file: Path):
    """Raise Hang after SECONDS or WAIT; yield a function that reports too much time or memory."""
    before, start, seconds = peak_kib(), time.process_time(), 0.0

    def over() -> str:
        if seconds > SECONDS:
            return f"slow: {seconds:.1f} s"
        added = peak_kib() - before
        return f"memory: {added / 1024:.0f} MB" if added > MEMORY else ""

    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    try:
        yield over
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        seconds = time.process_time() - start


def peak_kib() -> int:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def on_alarm(*_):
    """Interrupt a reader that hangs."""
    raise Hang


# ---- many inputs ---------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What came of the inputs of a format."""

    inputs: int
    accepted: int
    seconds: float
    failures: dict[str, bytes]  # kind of failure -> the first input


def fuzz(form: Format, inputs: int, seed: int) -> Outcome:
    """Feed the seeds and then changed inputs; the same seed gives the same inputs."""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGPROF, on_alarm)
    warnings.simplefilter("ignore")
    before = form.file.read_bytes() if form.file.is_file() else None
    rng, kinds = random.Random(seed), {}
    start, accepted = time.monotonic(), 0
    for number in range(inputs):
        if number < len(form.seeds):
            data = form.seeds[number]
        elif rng.random() < 0.05 and len(form.seeds) > 1:
            data = spliced(rng, form.seeds)
        else:
            data = form.mutate(rng, rng.choice(form.seeds))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            good, failure = fuzz_one(form, data)
        if number < len(form.seeds) and not good:
            failure = failure or f"seed {number} is refused"
        accepted += good
        if failure:
            kinds.setdefault(kind_of(failure), (failure, data))
    if before is not None:  # other formats of the group read it too
        form.file.write_bytes(before)
    return Outcome(inputs, accepted, time.monotonic() - start, dict(kinds.values()))


def kind_of(failure: str) -> str:
    """Return `failure` without its values, so that each kind is reported once."""
    what, _, place = failure.partition(" at ")
    return what[:40] if failure.startswith("wrong") else f"{what.split(':')[0]} at {place}"


GROUPS = (voc, coco, yolo, pictures, darknet, run_files, checkpoints)


def work(task) -> tuple[str, Outcome]:
    """Fuzz one format, in a process of its own."""
    group, name, inputs, seed, place = task
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=place) as folder:
        return name, fuzz(group(Path(folder) / "x")[name], inputs, seed)


def main() -> int:
    """Fuzz the formats of the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--formats", default="", help="starts of names with commas between; default: all"
    )
    parser.add_argument("--save", type=Path, help="folder for one input of each failure")
    args = parser.parse_args()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        known = {name: g for g in GROUPS for name in g(Path(folder) / g.__name__)}
    chosen = [n for n in known if any(n.startswith(f) for f in args.formats.split(","))]
    share, parts = args.inputs // max(1, len(chosen)), 4 * args.jobs
    tasks = [
        (known[name], name, share // parts, args.seed * parts + part, place)
        for name in chosen
        for part in range(parts)
    ]
    totals = {name: Outcome(0, 0, 0.0, {}) for name in chosen}
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.jobs, maxtasksperchild=4) as pool:
        for name, one in pool.imap_unordered(work, tasks):
            sums = (a + b for a, b in zip(totals[name][:3], one[:3], strict=True))
            failures = {
                kind_of(f): (f, data) for f, data in (totals[name].failures | one.failures).items()
            }
            totals[name] = Outcome(*sums, dict(failures.values()))
    count = Counter()
    for name, (inputs, accepted, seconds, failures) in totals.items():
        print(
            f"{name:22} {inputs:9,} inputs {accepted:9,} accepted {seconds:8.1f} s "
            f"{len(failures):3} failures"
        )
        for number, (failure, data) in enumerate(failures.items()):
            print(f"    {failure}")
            if args.save:
                args.save.mkdir(parents=True, exist_ok=True)
                (args.save / f"{re.sub(r'[^a-zA-Z0-9]+', '_', name)}_{number}").write_bytes(data)
        count.update(inputs=inputs, failures=len(failures))
    print(f"{count['inputs']:,} inputs, {count['failures']} failures")
    return 1 if count["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
