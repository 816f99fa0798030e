"""YOLOv2 inference on CPU in float32: yolojax and four other programs, in turn.

    pip install torch
    python benchmarks/inference.py --batch=1 --calls=20 --json=inference.json

All fold batch normalization and use the same random weights, except PyTorch, which has its own.
"yolojax" is the program of `yolojax.load`; "yolojax plain" is the linen network. ONNX Runtime runs
our .onnx export (with the decoder, 0.1 % of the work), OpenCV our .cfg and .weights. The input is a
float image in each program's layout; resizing and NMS are excluded. Outputs are compared first.
"""

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import cv2
import jax
import numpy as np
import onnxruntime
import torch
from side_by_side import measure, report
from torch_yolov2 import Net

from yolojax.bench import at_size
from yolojax.config import Config, read_config
from yolojax.darknet.cfg_writer import cfg_text
from yolojax.darknet.weights import save_weights
from yolojax.export.onnx import export_onnx
from yolojax.models.fast.folded import fold
from yolojax.models.network import variable_shapes
from yolojax.tasks import Task, build

ROOT = Path(__file__).parents[1]
LAST = "conv_30"  # OpenCV's name of the layer before the head


def random_variables(task: Task, size: tuple[int, int]) -> dict:
    """Variables with which activations stay near 1."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            gain = np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
            return rng.standard_normal(leaf.shape, np.float32) * gain
        low, high = (0.5, 1.5) if kind in ("var", "scale") else (-0.2, 0.2)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, variable_shapes(task.model, size))


def make_sides(config: Config, images: np.ndarray, folder: Path, threads: int) -> dict:
    """Name -> call; ours, the plain one's and OpenCV's give raw [B, H / 32, W / 32, outputs]."""
    task = build(config)
    variables = random_variables(task, config.data.image_size)
    model, folded = fold(task.model, variables)
    planar = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    quick, plain = jax.jit(model.apply), jax.jit(task.model.apply)
    folded, on_device = jax.device_put(folded), jax.device_put(variables)
    export_onnx(folder / "n.onnx", task, config, variables, nms=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        folder / "n.onnx", options, providers=["CPUExecutionProvider"]
    )
    (folder / "n.cfg").write_text(cfg_text(config))
    save_weights(folder / "n.weights", task.model, variables, 0)
    net = cv2.dnn.readNetFromDarknet(str(folder / "n.cfg"), str(folder / "n.weights"))
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    theirs = Net(task.model.table, folded=True).to(memory_format=torch.channels_last).eval()
    pixels = torch.from_numpy(planar).contiguous(memory_format=torch.channels_last)

    def opencv():
        net.setInput(planar)
        return net.forward(LAST).transpose(0, 2, 3, 1)

    def pytorch():
        with torch.inference_mode():
            return theirs(pixels)

    return {
        "yolojax": lambda: np.asarray(quick(folded, images)),
        "yolojax plain": lambda: np.asarray(plain(on_device, images)),
        "ONNX Runtime": lambda: session.run(None, {"images": planar}),
        "OpenCV DNN": opencv,
        "PyTorch folded": pytorch,
    }


def check(sides: dict) -> str:
    """The largest difference from ours, in deviations of the output."""
    ours = sides["yolojax"]()
    apart = (
        f"{name} {np.abs(sides[name]() - ours).max() / ours.std():.0e}"
        for name in ("yolojax plain", "OpenCV DNN")
    )
    return "outputs differ by at most, in their standard deviations: " + ", ".join(apart)


def main() -> None:
    """Parses the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--calls", type=int, default=20, help="of each side, after two uncounted")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the others")
    parser.add_argument("--json", help="a file for the numbers")
    flags = parser.parse_args()
    config = at_size(read_config(ROOT / "configs/yolov2_voc.py"), (flags.size, flags.size))
    config.model.dtype, config.model.epsilon = "float32", "cpu"
    images = np.random.default_rng(1).uniform(size=(flags.batch, flags.size, flags.size, 3))
    with tempfile.TemporaryDirectory() as folder:
        sides = make_sides(config, images.astype(np.float32), Path(folder), flags.threads)
        same = check(sides)
        times = measure(sides, flags.calls)
    about = {
        "what": f"inference, yolov2-voc {flags.size}, float32, batch {flags.batch}",
        "versions": f"jax {jax.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"OpenCV {cv2.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {flags.threads} threads",
        "same": same,
    }
    report(about, times, flags.batch, flags.json)


if __name__ == "__main__":
    main()
