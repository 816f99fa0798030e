"""Runs of a script as several real processes on this machine, with CPU collectives."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from small_detector import CFG

ROOT = Path(__file__).parents[1]
SMALL = (
    "--config=configs/quickstart.py:smoke",
    "--config.model.name=small",
    f"--config.model.cfg={CFG}",
    "--config.model.width=1",
    "--config.data.image_size=64,64",
    "--config.log_every=1",
    "--config.eval.bootstrap=10",
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def launch(workdir, *options, processes, devices, script="train.py", last_only=()):
    """Start `processes` of a script with `devices` each -> [Popen]; output goes to workdir.N.log.

    They share compiled programs through $JAX_COMPILATION_CACHE_DIR. `last_only` are options of the
    last process alone.
    """
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    if processes > 1:
        environment["JAX_COORDINATOR_ADDRESS"] = f"localhost:{free_port()}"
        environment["JAX_NUM_PROCESSES"] = str(processes)
    command = [sys.executable, script, f"--workdir={workdir}", *options]
    started = []
    for index in range(processes):
        own = {"JAX_PROCESS_ID": str(index)} if processes > 1 else {}
        more = last_only if index == processes - 1 else ()
        with log_of(workdir, index).open("a") as log:
            started.append(
                subprocess.Popen(
                    [*command, *more],
                    cwd=ROOT,
                    env=environment | own,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return started


def log_of(workdir, index):
    return workdir.with_name(f"{workdir.name}.{index}.log")


def wait(started, seconds=300):
    """Return the exit statuses; after `seconds` kill what still runs and raise TimeoutExpired."""
    end = time.monotonic() + seconds
    try:
        return [process.wait(max(end - time.monotonic(), 0.1)) for process in started]
    finally:
        for process in started:
            process.kill()


def run(workdir, *options, **how):
    """Launch the processes, wait, and check that all succeeded."""
    statuses = wait(launch(workdir, *options, **how))
    logs = [log_of(workdir, index).read_text()[-2000:] for index in range(len(statuses))]
    assert statuses == [0] * len(statuses), logs


def steps_of(workdir):
    """Return the complete lines of metrics.jsonl that are training steps."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    return [line for line in lines if "train/loss" in line]


def wait_for_step(workdir, step, seconds=200):
    end = time.monotonic() + seconds
    while not steps_of(workdir) or steps_of(workdir)[-1]["step"] < step:
        assert time.monotonic() < end, f"step {step} was not reached"
        time.sleep(0.02)
