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
import math
import multiprocessing
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import cv2  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import yaml  # noqa: E402

jax.config.update("jax_platforms", "cpu")

from mutations import (  # noqa: E402
    Mutate,
    mutate_bytes,
    mutate_json,
    mutate_json_lines,
    mutate_lines,
    mutate_png,
    mutate_value,
    mutate_xml,
    spliced,
)

from yolojax.config import to_dict  # noqa: E402
from yolojax.darknet.cfg import parse_cfg, read_cfg  # noqa: E402
from yolojax.darknet.config import config_from_cfg  # noqa: E402
from yolojax.darknet.data_files import read_data, read_names  # noqa: E402
from yolojax.darknet.weights import load_weights  # noqa: E402
from yolojax.data.records import Record, load_image  # noqa: E402
from yolojax.data.sources.load import load_source  # noqa: E402
from yolojax.distributed.sharding import make_mesh  # noqa: E402
from yolojax.export.safetensors import load_tensors, save_tensors  # noqa: E402
from yolojax.files import to_json  # noqa: E402
from yolojax.models.layers import Conv  # noqa: E402
from yolojax.models.network import Network, variable_shapes  # noqa: E402
from yolojax.tasks import build  # noqa: E402
from yolojax.training import checkpoint, goodput, run_config, run_lock  # noqa: E402
from yolojax.training.checkpoint import restore_best  # noqa: E402
from yolojax.training.optimizer import make_optimizer  # noqa: E402
from yolojax.training.state import create_state  # noqa: E402
from yolojax.visual.report import read_metrics  # noqa: E402
from yolojax.wordtree.files import read_map, read_tree  # noqa: E402

SECONDS = 2.0  # of the processor, for one input
WAIT = 20.0  # seconds that pass, also while the reader is blocked or the machine is busy
MEMORY = 500 * 2**10  # KiB that one input may add
LONGEST_MESSAGE = 2000
FOLDER = "yolojax-fuzz-"  # start of the name of the folder with all files


class Hang(BaseException):
    """One input took longer than SECONDS, or WAIT."""


class Format(NamedTuple):
    """A kind of file: valid examples, how they are changed, and the reader."""

    seeds: tuple[bytes, ...]
    mutate: Mutate
    file: Path  # where each input is written
    read: Callable[[], Any]  # reads `file`
    check: Callable[[Any, bytes], str]  # (result, input) -> what is wrong with this success, or ""


def no_check(result, data: bytes) -> str:
    """Accept every result."""
    return ""


# ---- the formats ---------------------------------------------------------------------------------


def picture(suffix: str = ".jpg", size=(12, 16)) -> bytes:
    """Encode a small picture of (height, width)."""
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def check_source(source, data: bytes) -> str:
    """Check that every record has finite boxes within the picture and labels of its classes."""
    for record in source:
        n, boxes = len(record.labels), record.boxes
        if boxes.shape != (n, 4) or not np.isfinite(boxes).all():
            return f"boxes {boxes.tolist()}"
        if n and not (boxes.min() >= 0 and boxes.max() <= 1 + 1e-6):
            return f"boxes outside of the picture: {boxes.tolist()}"
        if n and not (boxes[:, 2:] > boxes[:, :2]).all():
            return f"boxes without area: {boxes.tolist()}"
        if n and not (record.labels.min() >= 0 and record.labels.max() < len(source.classes)):
            return f"labels {record.labels.tolist()} of {len(source.classes)} classes"
        if not np.isfinite(record.area).all() or (record.area < 0).any():
            return f"area {record.area.tolist()}"
    if any(not isinstance(name, str) or not name.strip() for name in source.classes):
        return f"class names {source.classes}"
    return ""


def opened(spec: str):
    """Return a function that opens a SOURCE and reads the pictures of its records."""

    def read():
        source = load_source(spec)
        for record in [source[i] for i in range(min(len(source), 8))]:
            load_image(record)
        return source

    return read


def voc(folder: Path) -> dict[str, Format]:
    """A VOC folder: an annotation, and the list of a split."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    (folder / "JPEGImages" / "a.jpg").write_bytes(picture())
    (folder / "JPEGImages" / "b.jpg").write_bytes(picture())
    xml = (
        b"<annotation><folder>x</folder><filename>a.jpg</filename><size><width>16</width>"
        b"<height>12</height><depth>3</depth></size><object><name>cat</name><difficult>1</difficult>"
        b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>8</xmax><ymax>9</ymax></bndbox></object>"
        b"<object><name>dog</name><bndbox><xmin>3.5</xmin><ymin>2</ymin><xmax>16</xmax>"
        b"<ymax>12</ymax></bndbox></object></annotation>"
    )
    annotations = folder / "Annotations"
    (annotations / "a.xml").write_bytes(xml)
    (annotations / "b.xml").write_bytes(xml.replace(b"a.jpg", b"b.jpg"))
    splits = folder / "ImageSets" / "Main"
    (splits / "one.txt").write_text("a\n")
    seeds = (b"a\nb\n", b"a  1\nb -1\n", b"a.jpg\nb.jpg\n")
    return {
        "VOC XML": Format(
            (xml, xml.replace(b"cat", "猫".encode())),
            mutate_xml,
            annotations / "a.xml",
            opened(f"voc:{folder}:one"),
            lambda source, data: check_source(source, data) or check_xml(data),
        ),
        "VOC split list": Format(
            seeds, mutate_lines, splits / "all.txt", opened(f"voc:{folder}:all"), check_source
        ),
    }


def check_xml(data: bytes) -> str:
    """An XML that was read has its root element, opened and closed."""
    for encoding in ("utf-8-sig", "utf-16", "gb18030", "latin-1"):
        with contextlib.suppress(UnicodeError):
            text = data.decode(encoding)
            if "<annotation" in text and "</annotation" in text:
                return ""
    return "no <annotation> ... </annotation>"


def coco(folder: Path) -> dict[str, Format]:
    """A COCO JSON."""
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(picture())
    box = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 5, 6], "area": 30, "iscrowd": 0}
    content = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 16, "height": 12},
            {"id": 2, "file_name": "a.jpg"},
        ],
        "annotations": [box, box | {"id": 2, "image_id": 2, "category_id": 7, "iscrowd": 1}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    path = folder / "ann.json"
    seeds = (json.dumps(content).encode(), json.dumps(content, indent=1).encode("utf-8-sig"))
    read = opened(f"coco:{path}:{folder}")

    def check(source, data):
        return check_source(source, data) or check_json(data)

    return {"COCO JSON": Format(seeds, mutate_json, path, read, check)}


def check_json(data: bytes) -> str:
    """A JSON that was read is one that Python reads too."""
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return ""


def yolo(folder: Path) -> dict[str, Format]:
    """The files of a data.yaml and of a Darknet .data: descriptions, names, lists and labels."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for name in "ab":
        (folder / "images" / f"{name}.jpg").write_bytes(picture())
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n1 .5 .5 1 1\n")
    files = {
        "fixed.yaml": "path: .\ntrain: one.txt\nval: images\nnames: [cat, dog]\n",
        "fixed.data": "train = list.txt\nnames = fixed.names\n",
        "names.data": "train = one.txt\nnames = some.names\n",
        "fixed.names": "cat\ndog\n",
        "one.txt": "images/a.jpg\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    label = folder / "labels" / "a.txt"

    def of(spec, path, *seeds, mutate=mutate_lines, check=check_source):
        texts = tuple(seed.encode() for seed in seeds)
        return Format(texts, mutate, path, opened(f"darknet:{folder}/{spec}"), check)

    return {
        "label txt": of(
            "fixed.yaml:train",
            label,
            "0 0.5 0.5 0.5 0.5\n1 .25 .25 .5 .5\n",
            "1 0.5 0.5 0.5 0.5 0.9\n0 0.1 0.1 0.9 0.1 0.5 0.8\n",
            "",
            check=lambda source, data: check_source(source, data) or check_labels(data),
        ),
        "data.yaml": of(
            "data.yaml:train",
            folder / "data.yaml",
            "path: .\ntrain: images\nval: one.txt\nnc: 2\nnames: [cat, dog]\n",
            "train: [images, one.txt]\nval: images\nnames:\n  0: cat\n  1: dog\n",
            mutate=mutate_yaml,
        ),
        ".data": of(
            "some.data:train",
            folder / "some.data",
            "classes = 2\ntrain = one.txt\nvalid=images\nnames = fixed.names\nbackup = b\n",
        ),
        ".names of a data set": of("names.data:train", folder / "some.names", "cat\ndog\n"),
        "list of pictures": of(
            "fixed.data:train", folder / "list.txt", "images/a.jpg\nimages/b.jpg\n"
        ),
    }


LABEL = re.compile(r"[-+0-9.eE_]+(\s+[-+0-9.eE_]+){4,}")


def check_labels(data: bytes) -> str:
    """Every line that was read has a class and at least four numbers."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = data.decode(encoding, "replace").splitlines()
    bad = [line for line in lines if line.strip() and not LABEL.fullmatch(line.strip())]
    return f"line {bad[0]!r}" if bad else ""


def mutate_yaml(rng: random.Random, data: bytes) -> bytes:
    """Change values of a YAML document, or its lines."""
    if rng.random() < 0.5:
        return mutate_lines(rng, data)
    value = mutate_value(rng, yaml.safe_load(data))
    if rng.random() < 0.02:
        return b"names: " + b"[" * 5000
    if rng.random() < 0.02:
        levels = "".join(f"x{i + 1}: &x{i + 1} [*x{i}, *x{i}, *x{i}]\n" for i in range(30))
        return f"x0: &x0 [a, b]\n{levels}names: *x30\ntrain: images\n".encode()
    try:
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        return data


def pictures(folder: Path) -> dict[str, Format]:
    """Encoded pictures, with and without an EXIF orientation."""
    folder.mkdir(parents=True)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    jpeg = picture()
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    formats = {}
    for suffix, seeds, mutate in (
        (".jpg", (jpeg, turned), mutate_bytes),
        (".png", (picture(".png"),), mutate_png),
        (".webp", (picture(".webp"),), mutate_bytes),
        (".bmp", (picture(".bmp"),), mutate_bytes),
        (".tif", (picture(".tiff"),), mutate_bytes),
    ):
        file = folder / f"a{suffix}"
        record = Record("a", file, *np.zeros((2, 0, 4), np.float32), *[np.zeros(0, bool)] * 3)

        def read(record=record):
            return load_image(record)

        formats[f"picture {suffix}"] = Format(seeds, mutate, file, read, check_picture)
    return formats


def check_picture(result, data: bytes) -> str:
    """A decoded picture is uint8 RGB."""
    image = result if isinstance(result, np.ndarray) else result[-1]
    good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
    return "" if good else f"{image.dtype} {image.shape}"


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


# ---- one input -----------------------------------------------------------------------------------


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
