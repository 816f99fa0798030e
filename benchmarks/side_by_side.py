"""Time programs in turn, so that other work on the machine slows all of them alike."""

import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

WARM_UP = 2  # calls of each that are not counted: compilation, caches of memory


def measure(
    sides: dict[str, Callable], calls: int, warm_up: int = WARM_UP
) -> dict[str, dict[str, list[float]]]:
    """Seconds {"wall", "cpu"} of `calls` calls of each of `sides`, which take turns.

    "cpu" is the time that all threads of this process got: what a neighbour takes is not in it.
    """
    times = {name: {"wall": [], "cpu": []} for name in sides}
    for turn in range(warm_up + calls):
        for name, call in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if turn >= warm_up:
                times[name]["wall"].append(time.perf_counter() - wall)
                times[name]["cpu"].append(time.process_time() - cpu)
    return times


def spread(values: list[float]) -> dict[str, float]:
    """{"median", "min", "max"}."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary(times: dict[str, dict[str, list[float]]], images: int) -> list[dict]:
    """A row for each side: milliseconds of an image, and how many times as fast as it ours is.

    Ours is the first. "ratio" is of the medians, "ratio_range" the least and most of any turn.
    """
    rows, ours = [], next(iter(times.values()))
    for name, found in times.items():
        row = {"side": name}
        for clock, seconds in found.items():
            each = sorted(s / t for s, t in zip(seconds, ours[clock], strict=True))
            ms = [1000 * s / images for s in seconds]
            row[clock] = {
                **spread(ms),
                "ratio": statistics.median(seconds) / statistics.median(ours[clock]),
                "ratio_of_min": min(seconds) / min(ours[clock]),
                "ratio_range": [each[0], each[-1]],
            }
        rows.append(row)
    return rows


def report(about: dict, times: dict, images: int, path: str | None) -> None:
    """Prints the table, and writes it to `path` as JSON where there is one."""
    command, rows = shlex.join(["python", *sys.argv]), summary(times, images)
    print(*about.values(), command, sep="\n")
    head = f"{'':<22}{'clock':<6}{'median':>8}{'min':>8}{'max':>8}  ms an image   "
    print(head + "ratio to ours: median, min, [range of turns]")
    for row in rows:
        for clock in ("wall", "cpu"):
            n = row[clock]
            low, high = n["ratio_range"]
            print(
                f"{row['side']:<22}{clock:<6}{n['median']:>8.0f}{n['min']:>8.0f}{n['max']:>8.0f}"
                f"{'':<16}{n['ratio']:>6.2f}{n['ratio_of_min']:>7.2f}  [{low:.2f}, {high:.2f}]"
            )
    if path:
        text = json.dumps(about | {"command": command, "images": images, "rows": rows}, indent=1)
        Path(path).write_text(text + "\n")
