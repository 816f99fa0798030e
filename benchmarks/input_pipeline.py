"""JPEG files to training batches: our loader, tf.data and PyTorch's DataLoader, in turn.

    pip install torch tensorflow-cpu psutil
    python benchmarks/input_pipeline.py --data=voc:VOCdevkit/VOC2007:trainval --json=input.json

All sides do the work of `configs/yolov2_voc.py`: decode, place the picture with a random aspect on
a grey canvas of 416x416 (bilinear), flip half of them, change hue, saturation and exposure in HSV,
transform the boxes, pad them to 30, and batch 16 uint8 images. The encoded files are in memory.
Every side is a process that works only in its turn. A turn starts with uncounted images, more than
were prefetched in the meantime.

Wall time depends on other work on the machine, CPU time less, so estimates for a larger host use
CPU time and assume that nothing else is a bottleneck. Threads of one process share Python's lock;
the side "yolojax, 32x32" shows that limit.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from input_sides import SIDES, WITHOUT_PIXELS
from side_by_side import spread

GOAL = 2  # times as fast as any other program
HOST_CORES = 96  # of a host of 4 or 8 TPU chips
HERE = Path(__file__).parent


class Side:
    """A program with a number of threads or workers, waiting for its turn."""

    def __init__(self, name: str, threads: int, data: str):
        self.name, self.threads, self.turns = name, threads, []
        command = [sys.executable, str(HERE / "input_sides.py"), name]
        command += [f"--data={data}", f"--threads={threads}"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.version = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended; its message stands above.")
        return json.loads(line)

    def take_turn(self, images: int, warm_up: int) -> None:
        """Makes that many images and notes the seconds."""
        print(images, warm_up, file=self.process.stdin, flush=True)
        self.turns.append(self._answer())

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def row(self, images: int) -> dict:
        """Images a second and CPU milliseconds of an image: median, least and most of all turns."""
        rates = [images / turn["wall"] for turn in self.turns]
        costs = [1000 * turn["cpu"] / images for turn in self.turns]
        found = {"side": self.name, "threads": self.threads, "version": self.version}
        return found | {"images_per_second": spread(rates), "cpu_ms": spread(costs)}


def measure(sides: list[Side], rounds: int, images: int, warm_up: int) -> list[dict]:
    """The rows of `sides` after that many turns of each."""
    for _ in range(rounds):
        for side in sides:
            side.take_turn(images, warm_up)
    for side in sides:
        side.close()
    return [side.row(images) for side in sides]


def add_ratios(rows: list[dict]) -> None:
    """How many times as fast and as cheap the first side is, with as many threads."""
    first = {row["threads"]: row for row in rows if row["side"] == rows[0]["side"]}
    for row in rows:
        ours = first[row["threads"]]
        rates, costs = row["images_per_second"], row["cpu_ms"]
        row["ratio"] = ours["images_per_second"]["median"] / rates["median"]
        row["ratio_of_best"] = ours["images_per_second"]["max"] / rates["max"]
        row["cpu_ratio"] = costs["median"] / ours["cpu_ms"]["median"]
        row["cpu_ratio_of_best"] = costs["min"] / ours["cpu_ms"]["min"]
        row["extrapolated"] = HOST_CORES * 1000 / costs["min"]


def show(rows: list[dict]) -> None:
    """Prints the table."""
    print(
        f"{'':<18}{'threads':>7}   {'images/s: median [min, max]':<28}{'CPU ms an image':<22}"
        f"ours is so many times as fast: wall (best) - CPU (best)"
    )
    for row in rows:
        rates, costs = row["images_per_second"], row["cpu_ms"]
        wall = f"{rates['median']:.0f} [{rates['min']:.0f}, {rates['max']:.0f}]"
        cpu = f"{costs['median']:.2f} [{costs['min']:.2f}, {costs['max']:.2f}]"
        print(
            f"{row['side']:<18}{row['threads'] or '':>7}   {wall:<28}{cpu:<22}"
            f"{row['ratio']:.2f} ({row['ratio_of_best']:.2f}) - "
            f"{row['cpu_ratio']:.2f} ({row['cpu_ratio_of_best']:.2f})"
        )


def extrapolate(rows: list[dict]) -> None:
    """Prints what a host with more cores might do."""
    print(f"Extrapolated, not measured: images/s of {HOST_CORES} such cores, by CPU time alone")
    for row in rows:
        limited = " if Python's lock were free" if row["side"] == rows[0]["side"] else ""
        if row["side"] != WITHOUT_PIXELS:
            print(f"  {row['side']:<18}{row['threads']:>3}   {row['extrapolated']:.0f}{limited}")
    rates = [r["images_per_second"]["max"] for r in rows if r["side"] == WITHOUT_PIXELS]
    if rates:
        print(f"  One process of ours by that lock: at most {max(rates):.0f}, on any host.")


def main() -> None:
    """Parses the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="voc:VOCdevkit/VOC2007:trainval", help="a SOURCE")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE")
    parser.add_argument(
        "--threads", nargs="+", type=int, default=[os.cpu_count()], help="or workers"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=512, help="counted in a turn")
    parser.add_argument("--warm-up", type=int, default=512, help="not counted before them")
    parser.add_argument("--json", help="a file for the numbers")
    flags = parser.parse_args()
    sides = [Side(name, n, flags.data) for n in flags.threads for name in flags.sides]
    rows = measure(sides, flags.rounds, flags.images, flags.warm_up)
    add_ratios(rows)
    about = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"python {platform.python_version()}, {os.cpu_count()} cores",
        "versions": sorted({row["version"] for row in rows}),
    }
    print(about["command"], about["machine"], *about["versions"], sep="\n")
    show(rows)
    extrapolate(rows)
    if flags.json:
        Path(flags.json).write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
