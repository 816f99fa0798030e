"""Export a trained network to serialized StableHLO for CPU, GPU and TPU, at any batch size.

Running the file needs only jax and flatbuffers:

exported = jax.export.deserialize(bytearray(Path("x.stablehlo").read_bytes()))
exported.call(images)["boxes"]  # images [B, H, W, 3] of the type in exported.in_avals
"""

from collections.abc import Callable
from pathlib import Path

import jax
from jax import export

from yolojax.config import Config
from yolojax.data.transforms import blank
from yolojax.evaluation.detection import make_programs
from yolojax.files import write_bytes
from yolojax.heads.predictions import scores
from yolojax.ops.images import to_float
from yolojax.tasks import Task

PLATFORMS = ("cpu", "cuda", "tpu")
OUTPUTS = ("boxes", "scores", "labels", "count")  # fields of ops.nms.Detections


def export_stablehlo(
    path: str | Path, task: Task, config: Config, variables: dict, *, nms: bool = False
) -> None:
    """Write the program from images to detections, including the weights.

    The input is RGB images [B, H, W, 3] of config.data.image_size for any B: uint8, or float32 in
    0..1 if config.data.resize is "darknet". The output is the dict of `outputs_of`.

    Args:
        path: of the file.
        task: network and decoder.
        config: data.image_size, data.resize and eval are read.
        variables: {"params": ..., "batch_stats": ...}.
        nms: whether the program includes non-maximum suppression.

    Raises:
        ValueError: `nms` is set for a classifier; flatbuffers is not installed.
    """
    import_flatbuffers()
    run = outputs_of(task, config, variables, nms=nms)
    # vmap over single images, because networks and heads may use len(), which must be an integer.
    program = jax.jit(jax.vmap(lambda image: jax.tree.map(lambda x: x[0], run(image[None]))))
    (batch,) = export.symbolic_shape("b")
    pixel = blank(config.data.resize, ()).dtype
    image = jax.ShapeDtypeStruct((batch, *config.data.image_size, 3), pixel)
    exported = export.export(program, platforms=PLATFORMS)(image)
    write_bytes(path, exported.serialize())


def import_flatbuffers() -> None:
    """Raise ValueError unless flatbuffers, the format of jax.export, is installed."""
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "a .stablehlo file needs the package flatbuffers: pip install -e '.[export]'."
        ) from error


def outputs_of(task: Task, config: Config, variables: dict, *, nms: bool = False) -> Callable:
    """Return the function images [B, H, W, 3] -> dict of arrays that is exported.

    Detector: "boxes" [B, N, 4] (xyxy, 0..1 of the input) and "scores" [B, N, C]. Detector with
    `nms`: "boxes" [B, K, 4], "scores" and "labels" [B, K], best first and padded with 0, 0 and -1,
    and "count" [B]. Classifier: "probabilities" [B, C]. Raises as in `export_stablehlo`.
    """
    if task.is_classifier and nms:
        raise ValueError("a classifier has no boxes for NMS; leave --nms out.")
    programs, settings = make_programs(task, config.eval), config.eval

    def run(images):
        raw = task.model.apply(variables, to_float(images), train=False)
        if nms:
            output = programs.detect(raw, settings.score_threshold, settings.iou_threshold)
            return {name: getattr(output.detections, name) for name in OUTPUTS}
        predicted = task.decode(raw)
        if task.is_classifier:
            return {"probabilities": predicted}
        return {"boxes": predicted.boxes, "scores": scores(predicted)}

    return run
