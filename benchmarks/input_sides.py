"""One side of `input_pipeline.py`, a process that serves rounds on request.

It reads lines "IMAGES WARM_UP" and answers each with a line of JSON. Between rounds it works only
to fill its prefetch buffer.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import cv2
import grain
import numpy as np
import psutil

from yolojax.config import AugmentConfig
from yolojax.data.parsing import RecordList
from yolojax.data.pipeline import train_loader, train_sample
from yolojax.data.records import read_bytes
from yolojax.data.sources.load import load_source

SIZE, BATCH, PLACES = 416, 16, 30
WITHOUT_PIXELS = "yolojax, 32x32"


def in_memory(spec: str) -> RecordList:
    """The records of a SOURCE with their files' bytes, so that no side waits for a disk."""
    source = load_source(spec)
    records = [source[index] for index in range(len(source))]
    records = [record._replace(image=read_bytes(record.image)) for record in records]
    return RecordList(source.name, source.classes, records, [])


def our_sample() -> Callable:
    """`train_sample` as `configs/yolov2_voc.py` has it."""
    return partial(train_sample, augment=AugmentConfig(), max_boxes=PLACES)


def ours(source: RecordList, threads: int) -> tuple[Iterator, str]:
    """The project's own loader."""
    found = train_loader(
        source, our_sample(), image_size=(SIZE, SIZE), batch_size=BATCH, seed=0, threads=threads
    )
    return found, f"grain {grain.__version__}, OpenCV {cv2.__version__}, NumPy {np.__version__}"


def ours_without_pixels(source: RecordList, threads: int) -> tuple[Iterator, str]:
    """The same for pictures and inputs of 32x32: what is left is Python, which has one lock."""
    tiny = np.zeros((32, 32, 3), np.uint8)
    records = [record._replace(image=tiny) for record in source.records]
    source = RecordList(source.name, source.classes, records, [])
    found = train_loader(
        source, our_sample(), image_size=(32, 32), batch_size=BATCH, seed=0, threads=threads
    )
    return found, f"grain {grain.__version__}"


def our_row(source: RecordList) -> Callable[[int], dict]:
    """A function position -> row of the project's own training."""
    return partial(_row, source, our_sample())


def _row(source, sample, position):
    return sample(source, position, seed=0, size=(SIZE, SIZE))


def grain_defaults(source: RecordList, threads: int) -> tuple[Iterator, str]:
    """Our rows, with the threads and the read-ahead that Grain chooses."""
    rows = grain.MapDataset.range(10**9).map(our_row(source)).to_iter_dataset()
    return iter(rows.batch(BATCH, drop_remainder=True)), f"grain {grain.__version__}"


def tf_data(source: RecordList, threads: int) -> tuple[Iterator, str]:
    """tf.data."""
    import tf_pipeline

    found = tf_pipeline.batches(source.records, SIZE, BATCH, PLACES, threads)
    return found, tf_pipeline.VERSION


def torch_pillow(source: RecordList, threads: int) -> tuple[Iterator, str]:
    """A DataLoader with Pillow."""
    import torch_pipeline

    row = torch_pipeline.row_of(source.records, SIZE, PLACES)
    return torch_pipeline.batches(row, len(source), BATCH, threads), torch_pipeline.VERSION


def torch_our_row(source: RecordList, threads: int) -> tuple[Iterator, str]:
    """A DataLoader with the project's own function for a row."""
    import torch_pipeline

    found = torch_pipeline.batches(our_row(source), 10**9, BATCH, threads)
    return found, torch_pipeline.VERSION


SIDES = {
    "yolojax": ours,
    "tf.data": tf_data,
    "torch, Pillow": torch_pillow,
    "torch, our rows": torch_our_row,
    "grain's defaults": grain_defaults,
    WITHOUT_PIXELS: ours_without_pixels,
}


def cpu_seconds() -> float:
    """CPU time that this process and its workers got so far."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def draw(batches: Iterator, images: int) -> dict[str, float]:
    """Takes that many images; seconds {"wall", "cpu"}."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(images // BATCH):
        batch = next(batches)
        assert batch["image"].shape[::3] == (BATCH, 3)
        assert batch["boxes"].shape == (BATCH, PLACES, 4)
    return {"wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}


def main() -> None:
    """Serves until its input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, required=True)
    flags = parser.parse_args()
    batches, version = SIDES[flags.side](in_memory(flags.data), flags.threads)
    next(batches)
    print(json.dumps(version), flush=True)
    for line in sys.stdin:
        images, warm_up = map(int, line.split())
        draw(batches, warm_up)  # what was read ahead while others had their turn
        print(json.dumps(draw(batches, images)), flush=True)


if __name__ == "__main__":
    main()
