"""A network as serialized StableHLO, which runs on CPU, GPU and TPU, at any batch size.

Who runs it needs jax and flatbuffers, nothing else:

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
KEPT = ("boxes", "scores", "labels", "count")  # of ops.nms.Detections


def export_stablehlo(
    path: str | Path, task: Task, config: Config, variables: dict, *, nms: bool = False
) -> None:
    """Write the program from images to detections, with the weights inside.

    It takes RGB images [B, H, W, 3] of config.data.image_size for any B: uint8, or float32 in 0..1
    where config.data.resize is "darknet". It returns the dict of `outputs_of`.

    Args:
        path: the file.
        task: the network and its decoder.
        config: the image size, and with `nms` the thresholds of config.eval.
        variables: {"params": ..., "batch_stats": ...}.
        nms: whether non-maximum suppression is part of the program.

    Raises:
        ValueError: `nms` is asked of a classifier; flatbuffers is not installed.
    """
    import_flatbuffers()
    run = outputs_of(task, config, variables, nms=nms)
    # Image by image, because networks and heads may use len(), which must be a number.
    program = jax.jit(jax.vmap(lambda image: jax.tree.map(lambda x: x[0], run(image[None]))))
    (batch,) = export.symbolic_shape("b")
    pixel = blank(config.data.resize, ()).dtype
    image = jax.ShapeDtypeStruct((batch, *config.data.image_size, 3), pixel)
    exported = export.export(program, platforms=PLATFORMS)(image)
    write_bytes(path, exported.serialize())


def import_flatbuffers() -> None:
    """Raises ValueError where flatbuffers, the format of jax.export, is not installed."""
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "a .stablehlo file needs the package flatbuffers: pip install -e '.[export]'."
        ) from error


def outputs_of(task: Task, config: Config, variables: dict, *, nms: bool = False) -> Callable:
    """The function images [B, H, W, 3] -> dict of arrays that is exported.

    A detector's are "boxes" [B, N, 4] (xyxy, 0..1 of the input) and "scores" [B, N, C]; with `nms`
    "boxes" [B, K, 4], "scores" and "labels" [B, K], the best first, then 0, 0 and -1 in the places
    that are left, and "count" [B], the places used; a classifier's is "probabilities" [B, C].
    Raises as `export_stablehlo`.
    """
    if task.is_classifier and nms:
        raise ValueError("a classifier finds no boxes for NMS to choose from; leave --nms out.")
    programs, settings = make_programs(task, config.eval), config.eval

    def run(images):
        raw = task.model.apply(variables, to_float(images), train=False)
        if nms:
            found = programs.detect(raw, settings.score_threshold, settings.iou_threshold)
            return {name: getattr(found.detections, name) for name in KEPT}
        predicted = task.decode(raw)
        if task.is_classifier:
            return {"probabilities": predicted}
        return {"boxes": predicted.boxes, "scores": scores(predicted)}

    return run
