"""Runs of train.py as several real processes on this machine, with CPU collectives."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMALL = (
    "--config=configs/quickstart.py:smoke",
    "--config.model.name=yolov2_tiny_voc",
    "--config.data.image_size=64,64",
    "--config.log_every=1",
    "--config.eval.bootstrap=10",
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def launch(workdir, *options, processes, devices, cache, script="train.py", own=()):
    """`processes` of a script with `devices` each -> [Popen]; what they say is in workdir.N.log.

    `own` are options of the last process alone.
    """
    everywhere = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }
    if processes > 1:
        everywhere["JAX_COORDINATOR_ADDRESS"] = f"localhost:{free_port()}"
        everywhere["JAX_NUM_PROCESSES"] = str(processes)
    command = [sys.executable, script, f"--workdir={workdir}", *options]
    started = []
    for index in range(processes):
        number = {"JAX_PROCESS_ID": str(index)} if processes > 1 else {}
        more = own if index == processes - 1 else ()
        with log_of(workdir, index).open("a") as log:
            started.append(
                subprocess.Popen(
                    [*command, *more],
                    cwd=ROOT,
                    env=everywhere | number,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return started


def log_of(workdir, index):
    return workdir.with_name(f"{workdir.name}.{index}.log")


def wait(started, seconds=300):
    """The exit statuses; whoever is not done in time is killed."""
    end = time.monotonic() + seconds
    try:
        return [process.wait(max(end - time.monotonic(), 0.1)) for process in started]
    finally:
        for process in started:
            process.kill()


def run(workdir, *options, **how):
    """As `launch` to a good end."""
    statuses = wait(launch(workdir, *options, **how))
    logs = [log_of(workdir, index).read_text()[-2000:] for index in range(len(statuses))]
    assert statuses == [0] * len(statuses), logs


def steps_of(workdir):
    """The lines of metrics.jsonl of training steps; of a run under way those there are."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    return [line for line in lines if "train/loss" in line]


def wait_for_step(workdir, step, seconds=200):
    end = time.monotonic() + seconds
    while not steps_of(workdir) or steps_of(workdir)[-1]["step"] < step:
        assert time.monotonic() < end, f"step {step} was not reached"
        time.sleep(0.05)
