"""The formats of models and runs for tests/fuzz.py: Darknet's files, trees, runs, checkpoints."""

import json
import math
import struct
from pathlib import Path

import jax
import numpy as np
from fuzz_data import Format, no_check
from mutations import mutate_bytes, mutate_json, mutate_json_lines, mutate_lines

from yolojax.config import to_dict
from yolojax.darknet.cfg import parse_cfg, read_cfg
from yolojax.darknet.config import config_from_cfg
from yolojax.darknet.data_files import read_data, read_names
from yolojax.darknet.weights import load_weights
from yolojax.distributed.sharding import make_mesh
from yolojax.export.safetensors import load_tensors, save_tensors
from yolojax.json_files import to_json
from yolojax.models.layers import Conv
from yolojax.models.network import Network, variable_shapes
from yolojax.tasks import build
from yolojax.training import checkpoint, goodput, run_config, run_lock
from yolojax.training.checkpoint import restore_best
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state
from yolojax.visual.report import read_metrics
from yolojax.wordtree.files import read_map, read_tree

CFG = """[net]
batch=64
subdivisions=8
width=64
height=64
channels=3
learning_rate=0.001
policy=steps
steps=-1,100
scales=.1,10

[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[reorg]
stride=2

[convolutional]
filters=21
size=1
stride=1
pad=1
activation=linear

[region]
anchors = 1,1, 2,2, 3,3
classes=2
coords=4
num=3
softmax=1
jitter=.2
"""


def darknet(folder: Path) -> dict[str, Format]:
    """Darknet's .cfg, .names, .data and .weights, and the files of a WordTree."""
    folder.mkdir(parents=True)
    model = Network((Conv(2, 1, name="a"), Conv(2, 1, batch_norm=False, name="b")))
    shapes = jax.tree.leaves(variable_shapes(model, (4, 4)))
    count = sum(math.prod(shape.shape) for shape in shapes)
    values = np.linspace(0.1, 1, count, dtype="<f4").tobytes()
    weights = folder / "a.weights"

    def format(name, read, *seeds, mutate=mutate_lines, check=no_check):
        path = folder / name
        texts = tuple(seed if isinstance(seed, bytes) else seed.encode() for seed in seeds)
        return Format(texts, mutate, path, lambda: read(path), check)

    def read_config(path):
        return config_from_cfg(read_cfg(path), name="a", text="", folder=folder)

    def read_weights(path):
        return load_weights(path, model, image_size=(4, 4))

    def check_weights(result, data):
        sizes = (20 + 4 * count, 16 + 4 * count)
        return "" if len(data) in sizes else f"{len(data)} bytes, of {sizes}"

    headers = (struct.pack("<iiiQ", 0, 2, 0, 64), struct.pack("<iiii", 0, 1, 0, 64))
    return {
        ".cfg": format("a.cfg", read_config, CFG, CFG.replace("leaky", "relu")),
        ".names": format("a.names", read_names, "cat\ndog\n"),
        ".data, keys": format("a.data", read_data, "classes = 2\ntrain = a.txt\nnames = b\n"),
        ".weights": format(
            weights.name,
            read_weights,
            *(header + values for header in headers),
            mutate=mutate_bytes,
            check=check_weights,
        ),
        ".tree": format(
            "a.tree",
            read_tree,
            "n00000001 -1\nn00000002 -1\nn00000003 0\nn00000004 0\nn00000005 1\n",
            check=lambda tree, _: check_tree(tree),
        ),
        ".map": format(
            "a.map",
            lambda path: read_map(path, 5),
            "0\n3\n4\n",
            check=lambda nodes, _: "" if all(0 <= n < 5 for n in nodes) else f"nodes {nodes}",
        ),
    }


def check_tree(tree) -> str:
    """Each parent of a tree is another node before its children, or -1."""
    bad = [(node, parent) for node, parent in enumerate(tree.parents) if not -1 <= parent < node]
    return f"(node, parent) {bad[0]}" if bad or len(tree.wnids) != len(tree.parents) else ""


def run_files(folder: Path) -> dict[str, Format]:
    """The files of a run: config.json, metrics.jsonl, goodput.jsonl, and .safetensors."""
    folder.mkdir(parents=True)
    config = config_from_cfg(parse_cfg(CFG, "small.cfg"), name="small", text=CFG)
    shapes = variable_shapes(build(config).model, config.data.image_size)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    tensors = folder / "a.safetensors"
    save_tensors(tensors, config, variables, 64)
    metrics = "".join(
        json.dumps({"step": n, "images": 64 * n, "train/loss": 1 / n}) + "\n" for n in (1, 2, 3)
    )
    events = "".join(
        json.dumps({"time": 1.5 * n, "event": event, "step": n}) + "\n"
        for n, event in enumerate(("start", "setup", "compile", "training", "stop"))
    )

    def read_goodput():
        return goodput.seconds_by_part(goodput.read_events(folder))

    def check_seconds(seconds, data):
        return "" if all(map(math.isfinite, seconds.values())) else str(seconds)

    def lines(name, text, read, check=no_check):
        return Format((text.encode(),), mutate_json_lines, folder / name, read, check)

    def take_lock():
        with run_lock.hold(folder / "locked"):
            return None

    metrics_file = folder / "metrics.jsonl"
    counts = {"train": {"pictures": 5, "boxes": 7, "digest": "x"}}
    history = {"step": 1, "changes": {"seed": [0, 1]}, "data": counts, "notes": []}
    dead = {"host": "a", "pid": 2**22 + 1, "since": "b", "machine": run_lock._machine()}
    (folder / "locked" / "checkpoints").mkdir(parents=True)
    return {
        "safetensors": Format(
            (tensors.read_bytes(),), mutate_bytes, tensors, lambda: load_tensors(tensors), no_check
        ),
        "config.json": Format(
            (json.dumps(to_dict(config)).encode(),),
            mutate_json,
            folder / "config.json",
            lambda: checkpoint.load_config(folder),
            no_check,
        ),
        "metrics.jsonl": lines("metrics.jsonl", metrics, lambda: read_metrics(metrics_file)),
        "config_history.jsonl": lines(
            "config_history.jsonl",
            to_json(history) + "\n",
            lambda: run_config.record_start(folder, 2, [], {"train": {"pictures": 6}}),
        ),
        "run.lock": Format(
            (to_json(dead | {"started": "1"}).encode(),),
            mutate_json,
            folder / "locked" / run_lock.FILE,
            take_lock,
            no_check,
        ),
        "goodput.jsonl": lines("goodput.jsonl", events, read_goodput, check_seconds),
    }


def checkpoints(folder: Path) -> dict[str, Format]:
    """Checkpoints of a run."""
    config = config_from_cfg(parse_cfg(CFG, "small.cfg"), name="small", text=CFG)
    config.data.image_size = (32, 32)
    task, optimizer = build(config), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, make_mesh())
    formats = {}
    for kind in ("with checksums", "without"):  # older runs have none
        workdir = folder / kind.replace(" ", "_")
        checkpoint.save_config(workdir, config)
        with checkpoint.open_manager(workdir, 2) as manager:
            checkpoint.finish(manager, state, config)
        if kind == "without":
            for path in workdir.rglob("checksums.json"):
                path.unlink()
        formats[f"checkpoint {kind}"] = of_folder(workdir)
    return formats


def of_folder(workdir: Path) -> Format:
    """Change one file of a checkpoint; an input is the number of the file, and its new content."""
    saved = (workdir / "checkpoints").rglob("*")
    files = sorted(path for path in saved if path.is_file())
    contents = [file.read_bytes() for file in files]
    changed = workdir / "input"

    def mutate(rng, data):
        number = rng.randrange(len(files))
        mutate = mutate_json if _is_json(files[number]) else mutate_bytes
        return bytes([number]) + mutate(rng, contents[number])

    def read():
        number, *content = changed.read_bytes()
        try:
            files[number % len(files)].write_bytes(bytes(content))
            return restore_best(workdir)
        finally:
            files[number % len(files)].write_bytes(contents[number % len(files)])

    return Format((b"\0" + contents[0],), mutate, changed, read, no_check)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict | list)
    except ValueError:
        return False
