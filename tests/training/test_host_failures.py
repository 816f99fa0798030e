"""Signals to and failures of one of two processes: both stop, and the run resumes."""

import signal

import cv2
import numpy as np
import pytest
from processes import SMALL, launch, log_of, run, steps_of, wait, wait_for_step
from small_runs import state_of

from yolojax.data.from_config import open_source, train_batches
from yolojax.data.loader import fingerprint, row_digests
from yolojax.training import checkpoint

STEPS = 150
LONG = (*SMALL, f"--config.optimizer.images={8 * STEPS}", "--config.eval.every_images=0")
ENDLESS = (*SMALL, "--config.optimizer.images=800000", "--config.eval.every_images=0")
CLASSIFIER = """[net]
height=64
width=64
channels=3
[convolutional]
filters=2
size=3
stride=4
pad=1
activation=linear
[avgpool]
[softmax]
groups=1
"""


def test_a_signal_to_one_process_stops_both_and_one_process_resumes(tmp_path):
    """The checkpoint of two hosts is restored by one, and the order of the data is the same."""
    workdir = tmp_path / "run"
    started = launch(workdir, *LONG, processes=2, devices=2)
    wait_for_step(workdir, 5)
    started[1].send_signal(signal.SIGTERM)
    assert wait(started, 120) == [0, 0], log_of(workdir, 1).read_text()[-2000:]
    assert 5 < int(state_of(workdir).step) < STEPS
    run(workdir, *LONG, processes=1, devices=4)
    assert int(state_of(workdir).step) == STEPS
    config = checkpoint.load_config(workdir)
    source = open_source(config.data.train, config)
    batches = train_batches(source, config, "region", start_batch=0)
    expected = [fingerprint({"rows": row_digests(next(batches))}) for _ in range(STEPS)]
    assert [line["batch"] for line in steps_of(workdir)] == expected


@pytest.mark.parametrize("killed", [0, 1])
def test_if_a_process_is_killed_the_other_stops_and_names_it(killed, tmp_path):
    workdir = tmp_path / "run"
    started = launch(workdir, *ENDLESS, processes=2, devices=2)
    wait_for_step(workdir, 3)
    started[killed].kill()
    other = 1 - killed
    assert started[other].wait(60) == 1
    log = log_of(workdir, other).read_text()
    assert f"process {killed} of 2 (host " in log
    assert "resume from the newest checkpoint" in log
    wait(started)


def labelled_folder(root, broken):
    """40 pictures of two classes; with `broken` the last one is cut off."""
    for i in range(40):
        path = root / "val" / "ab"[i // 20] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
        data = cv2.imencode(".png", picture)[1].tobytes()
        path.write_bytes(data[:50] if broken and i == 39 else data)
    return f"--config.data.dir={root}"


def test_if_a_process_cannot_read_a_picture_the_other_stops_and_names_it(tmp_path):
    """During an evaluation, when the other waits in a collective."""
    workdir = tmp_path / "run"
    options = (
        "--config=configs/darknet19_imagenet.py:smoke",
        "--config.model.name=small",
        f"--config.model.cfg={CLASSIFIER}",
        "--config.model.width=1",
        "--config.model.classes=('a', 'b')",
        "--config.data.train=folder:.:val",
        "--config.data.val=folder:.:val",
        "--config.optimizer.images=16",
        "--config.optimizer.batch_size=8",
        "--config.eval.batch_size=8",  # process 1 reads the last four of each eight
        labelled_folder(tmp_path / "whole", broken=False),
    )
    last_only = (labelled_folder(tmp_path / "broken", broken=True),)
    started = launch(workdir, *options, last_only=last_only, processes=2, devices=1)
    statuses = wait(started, 150)
    ours, theirs = (log_of(workdir, index).read_text() for index in (1, 0))
    assert statuses == [1, 1], ours + theirs
    assert "39.png" in ours
    assert "process 1 of 2 (host " in theirs
    assert "39.png" in theirs
