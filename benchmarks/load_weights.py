"""Seconds and memory to read and write a random yolov1.weights of the released size.

    python benchmarks/load_weights.py [FOLDER]

FOLDER (default: the system's temporary folder) needs 1.6 GB of space for a moment. Each step runs
in its own process. "anonymous" is allocated memory, "file" are pages of mapped files; the peak
counts both. memory.py measures the peaks only, with a file a quarter as large.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ENTRY = "yolov1.weights"
HEADER = np.array((0, 1, 0, 64), "<i4").tobytes()  # version and seen: 16 bytes
CHUNK = 1 << 22  # floats


def make(path: Path) -> None:
    """A file of the released length: floats of 0 to 0.01, so variances are none too small."""
    from yolojax.darknet import published_files

    size = next(e.bytes for e in published_files.PUBLISHED_FILES if e.name == ENTRY)
    count = (size - len(HEADER)) // 4
    key = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(HEADER)
        for start in range(0, count, CHUNK):
            file.write(key.random(min(CHUNK, count - start), np.float32) * np.float32(0.01))


def measure(path: Path) -> None:
    """Loads, puts on the device and writes back; a line for each."""
    import jax

    from yolojax.darknet import published_files
    from yolojax.darknet.weights import load_weights, save_weights
    from yolojax.loading import on_device
    from yolojax.tasks import build

    config = published_files.config_of(published_files.recognise(path))
    model = build(config).model
    jax.block_until_ready(jax.numpy.zeros(1))  # start the device
    report("imports and device", 0.0)
    start = time.perf_counter()
    variables, seen = load_weights(path, model, image_size=config.data.image_size)
    report("map and check", time.perf_counter() - start)
    start = time.perf_counter()
    variables = on_device(variables)
    report("to the device", time.perf_counter() - start)
    start = time.perf_counter()
    again = path.with_name("again.weights")
    save_weights(again, model, variables, seen, version=(0, 1, 0))
    report("write back", time.perf_counter() - start)


def report(step: str, seconds: float) -> None:
    """One line: what this process holds now, and the most it ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = dict(line.split(":\t", 1) for line in lines if line.startswith("Rss"))
    now = {key: int(value.split()[0]) / 1e3 for key, value in held.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{step:<20}{seconds:>8.2f} s   anonymous {now['RssAnon']:>6.0f} MB   "
        f"file {now['RssFile']:>6.0f} MB   peak {peak:>6.0f} MB",
        flush=True,
    )


def main(folder: str | None) -> None:
    """Runs the steps and removes the files."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "yolov1.weights"
        for step in ("make", "measure"):
            subprocess.run([sys.executable, __file__, step, str(path)], check=True)
            print(f"{path.name}: {path.stat().st_size:,} bytes") if step == "make" else None
        same = subprocess.run(["cmp", path, path.with_name("again.weights")], check=False)
        print("written back", "identical" if same.returncode == 0 else "DIFFERENT")


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if len(sys.argv) == 3:
        {"make": make, "measure": measure}[sys.argv[1]](Path(sys.argv[2]))
    else:
        main(sys.argv[1] if len(sys.argv) == 2 else None)
