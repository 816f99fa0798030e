"""Kill a run at random moments and resume it; its last state must equal that of a normal run.

    python tests/chaos.py --rounds 20 --processes 2 --seed 0

In each round one of the processes is killed (SIGKILL, or SIGTERM as a preemption) up to three
times: at any moment, or during a save. Sometimes the newest checkpoint is damaged as well. The same
command then resumes the run to its end. Parameters, statistics, momentum and average must be equal
bit by bit. The exit status is 1 if a round differs.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
jax.config.update("jax_platforms", "cpu")

from processes import SMALL, launch, log_of, wait  # noqa: E402

from yolojax.tasks import build  # noqa: E402
from yolojax.training import checkpoint, checksums  # noqa: E402

STEPS = 120
OPTIONS = (
    *SMALL,
    f"--config.optimizer.images={8 * STEPS}",
    "--config.eval.every_images=0",
    "--config.checkpoint.every_images=80",
    "--config.data.val=shapes:val",
)


def state_hash(workdir):
    """Return step and SHA-256 of all values of the newest checkpoint."""
    config = checkpoint.load_config(workdir)
    with checkpoint.open_manager(workdir, 2) as manager:
        abstract = checkpoint.abstract_state(build(config), config)
        state = checkpoint.restore(manager, abstract, manager.latest_step())
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(state)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return int(state.step), digest.hexdigest()[:16]


def wait_for_moment(rng, workdir, started, longest):
    """Wait for a random time or for a save, at the latest for the end of the run."""
    during_save = rng.random() < 0.4
    end = time.monotonic() + (longest if during_save else rng.uniform(0, longest))
    skip = rng.randrange(4)  # number of saves to skip
    seen = set()
    while time.monotonic() < end and started[0].poll() is None:
        if during_save:
            seen |= {path.name for path in (workdir / "checkpoints").glob("*checkpoint-tmp*")}
            if len(seen) > skip:
                break
        time.sleep(0.002)
    return "during a save" if during_save and len(seen) > skip else "at a random time"


def damage(rng, workdir):
    """Change a byte of the newest checkpoint, if there is an older one to resume from."""
    steps = sorted(workdir.glob("checkpoints/[0-9]*"), key=lambda p: int(p.name.split(".")[0]))
    complete = [
        path for path in steps if path.name.isdecimal() and (path / checksums.NAME).exists()
    ]
    if len(complete) < 2:
        return ""
    files = [p for p in complete[-1].rglob("*") if p.is_file() and p.stat().st_size > 100]
    file = rng.choice([p for p in files if p.name != checksums.NAME])
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return f"; checkpoint {complete[-1].name} damaged"


def one_round(rng, workdir, how, longest):
    """Run to the end with a few kills -> a description of them."""
    story = []
    for _ in range(rng.randint(1, 3)):
        started = launch(workdir, *OPTIONS, **how)
        moment = wait_for_moment(rng, workdir, started, longest)
        victim, number = rng.randrange(len(started)), rng.choice((signal.SIGKILL,) * 2 + (15,))
        over = started[victim].poll() is not None
        started[victim].send_signal(number)
        name = signal.Signals(number).name
        try:
            statuses = wait(started, 400)  # START_TIMEOUT of the others is 300 s
        except subprocess.TimeoutExpired as error:
            kills = f"{story}, then {name} to {victim} {moment}"
            raise AssertionError(f"{workdir}: still running after {kills}") from error
        note = damage(rng, workdir) if rng.random() < 0.25 else ""
        story.append(f"{name} to {victim} {moment}: {statuses}{note}" if not over else "had ended")
    statuses = wait(launch(workdir, *OPTIONS, **how), 300)
    if any(statuses):
        raise AssertionError(f"{workdir}: {statuses}: {log_of(workdir, 0).read_text()[-2000:]}")
    return story


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, default=2, help="of each process")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    root, rng = Path(tempfile.mkdtemp(prefix="chaos")), random.Random(args.seed)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(root / "cache")
    how = {"processes": args.processes, "devices": args.devices}
    wait(launch(root / "warm", *OPTIONS, **how))
    begin = time.monotonic()
    assert wait(launch(root / "normal", *OPTIONS, **how)) == [0] * args.processes
    longest, expected = time.monotonic() - begin, state_hash(root / "normal")
    assert expected == state_hash(root / "warm"), "two normal runs differ"
    print(f"normal run: step {expected[0]}, state {expected[1]}, {longest:.0f} s", flush=True)
    equal = 0
    for number in range(1, args.rounds + 1):
        workdir = root / f"round{number}"
        story = one_round(rng, workdir, how, longest)
        found = state_hash(workdir)
        equal += found == expected
        verdict = "equal" if found == expected else f"DIFFERS: {found}"
        print(f"round {number}: {verdict}. {'; then '.join(story)}", flush=True)
    print(f"{equal} of {args.rounds} rounds are equal to the normal run")
    if equal == args.rounds:
        shutil.rmtree(root, ignore_errors=True)
    return int(equal != args.rounds)


if __name__ == "__main__":
    sys.exit(main())
