"""Writing a source as a TFDS set in ArrayRecord shards, which many hosts can read at random."""

import contextlib
import io
import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from yolojax.data.records import Record, Source, read_bytes

VERSION = "1.0.0"


def write(
    splits: dict[str, Source],
    usable: dict[str, Iterable[tuple[int, Record, np.ndarray]]],
    out: Path,
    temporary: Path,
    shards: int | None,
) -> Path:
    """Write the splits below `temporary`, under the name of `out` -> the folder to rename to it.

    Args:
        splits: {name: source}, all with the same classes.
        usable: for each split the index, the upright record and the picture.
        out: the folder of the data set; its last part becomes the name of the set.
        temporary: an empty folder.
        shards: files per split; by default tfds chooses by size.
    """
    examples = {
        split: ((index, _example(record, image)) for index, record, image in records)
        for split, records in usable.items()
    }
    return _build(splits, examples, _dataset_name(out), temporary, shards).parent


def is_prepared(out: Path) -> bool:
    """Check whether `write` wrote everything in the folder `out`."""
    contents = [path.name for path in out.iterdir()] if out.is_dir() else []
    return contents == [VERSION] and (out / VERSION / "dataset_info.json").is_file()


def _dataset_name(out: Path) -> str:
    """Turn the last part of the path into a name for tfds: small letters, digits and _."""
    name = re.sub(r"\W+", "_", out.resolve().name.lower()).strip("_")
    return name if name[:1].isalpha() else f"set_{name}"


def _build(splits: dict[str, Source], examples: dict, name: str, data_dir: Path, shards) -> Path:
    """Run a tfds builder over the examples of the splits -> the folder of the written version."""
    import tensorflow_datasets as tfds  # slow to import

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(VERSION)
        url_infos = None  # nothing is downloaded

        def _info(self):
            classes = next(iter(splits.values())).classes
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"Written by `yolojax prepare` from {_names(splits)}.",
                features=_features(classes),
                disable_shuffling=True,  # record k of the set is record k of the source
            )

        def _split_generators(self, dl_manager):
            return examples

        def _generate_examples(self):
            raise NotImplementedError  # abstract in tfds; the generators are given above

    Builder.name = name
    tfds.disable_progress_bar()
    builder = Builder(data_dir=str(data_dir), file_format="array_record")
    options = tfds.download.DownloadConfig(num_shards=shards, try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):  # it reports downloads, and there are none
        builder.download_and_prepare(download_config=options)
    return Path(builder.data_dir)


def _names(splits: dict[str, Source]) -> str:
    return ", ".join(f"{split}={source.name}" for split, source in splits.items())


def _features(classes: tuple[str, ...]):
    """Make the features of the set, named as in voc and coco of tfds."""
    import tensorflow_datasets as tfds

    objects = {
        "bbox": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=list(classes)),
        "is_difficult": np.bool_,
        "is_crowd": np.bool_,
        "area": np.float32,
    }
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(objects),
        }
    )


def _example(record: Record, image: np.ndarray) -> dict:
    data, suffix = _encoded(record, image)
    columns = zip(
        record.boxes, record.labels, record.difficult, record.crowd, record.area, strict=True
    )
    return {
        "image": data,
        "image/filename": record.image_id + suffix,
        "objects": [
            {
                "bbox": box[[1, 0, 3, 2]],  # xyxy -> tfds' (ymin, xmin, ymax, xmax)
                "label": int(label),
                "is_difficult": difficult,
                "is_crowd": crowd,
                "area": area,
            }
            for box, label, difficult, crowd, area in columns
        ],
    }


def _encoded(record: Record, image: np.ndarray) -> tuple[bytes, str]:
    """Return the encoded picture and its suffix; `image` is the decoded picture."""
    if isinstance(record.image, np.ndarray):
        return encode_png(image), ".png"
    if isinstance(record.image, Path):
        return read_bytes(record.image), record.image.suffix or ".jpg"
    return record.image, ".png" if record.image.startswith(b"\x89PNG") else ".jpg"


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8 RGB [h, w, 3] without loss."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
