"""Writing a source as a TFDS set in ArrayRecord shards, which many hosts can read at random."""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from yolojax.data.records import BadRecord, Record, Source, load_record, read_bytes
from yolojax.progress import progress

VERSION = "1.0.0"


class Prepared(NamedTuple):
    """A written split."""

    images: int
    skipped: list[str]  # a message for each record that could not be used


def prepare_dataset(
    splits: dict[str, Source],
    out: Path,
    *,
    shards: int | None = None,
    overwrite: bool = False,
    on_bad_record: str = "error",
) -> dict[str, Prepared]:
    """Write the splits to OUT/1.0.0, to be read as `tfds:OUT` -> {split: what was written}.

    Encoded pictures are decoded as a check and written unchanged; arrays are written as PNG. OUT
    appears once everything is written.

    Args:
        splits: {name: source}, all with the same classes.
        out: the folder of the data set; its last part becomes the name of the set.
        shards: files per split; by default tfds chooses by size.
        overwrite: replace an earlier prepared set at `out`.
        on_bad_record: "error", or "skip" to skip a picture that cannot be decoded.

    Raises:
        ValueError: the classes differ, a source has no boxes, or `shards` is not positive.
        FileExistsError: `out` exists and must not be replaced.
        BadRecord: a picture cannot be decoded, and `on_bad_record` is "error".
    """
    _check(splits, out, shards, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    skipped = {split: list(source.skipped) for split, source in splits.items()}
    bad = {split: [] for split in splits}
    examples = {s: _examples(s, source, bad[s], on_bad_record) for s, source in splits.items()}
    # Next to `out`, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        written = _build(splits, examples, _dataset_name(out), Path(temporary), shards)
        if out.exists():
            out.rename(Path(temporary) / "replaced")
        written.parent.rename(out)
    return {
        split: Prepared(len(source) - len(bad[split]), skipped[split] + bad[split])
        for split, source in splits.items()
    }


def _check(splits: dict[str, Source], out: Path, shards: int | None, overwrite: bool) -> None:
    for split, source in splits.items():
        if len(source) and source[0].label >= 0 and not len(source[0].boxes):
            raise ValueError(
                f"{split} ({source.name}) has a class for each picture and no boxes; only sets "
                "with boxes are written. Train on the source itself, or on a tfds set of labels."
            )
    if len({tuple(source.classes) for source in splits.values()}) != 1:
        raise ValueError(
            f"all splits must have the same classes, got "
            f"{[source.classes for source in splits.values()]}."
        )
    if shards is not None and shards < 1:
        raise ValueError(f"shards must be 1 or more, got {shards}.")
    for split, source in splits.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", split) or not len(source):
            raise ValueError(
                f"a split needs a lower-case name and at least one record, got {split!r} with "
                f"{len(source)}."
            )
    _check_out(out, overwrite)


def _check_out(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(f"{out}: exists already; give another --out, or --overwrite.")
    contents = [path.name for path in out.iterdir()] if out.is_dir() else []
    if contents != [VERSION] or not (out / VERSION / "dataset_info.json").is_file():
        raise FileExistsError(f"{out}: was not written by `yolojax prepare`; not overwritten.")


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


def _examples(
    split: str, source: Source, bad: list[str], on_bad_record: str
) -> Iterator[tuple[int, dict]]:
    for index in progress(range(len(source)), desc=split, unit="image"):
        try:
            example = _example(source[index])
        except BadRecord as error:
            if on_bad_record == "error":
                raise
            bad.append(str(error))
        else:
            yield index, example


def _example(record: Record) -> dict:
    record, image = load_record(record)
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
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return png.tobytes(), ".png"
    if isinstance(record.image, Path):
        return read_bytes(record.image), record.image.suffix or ".jpg"
    return record.image, ".png" if record.image.startswith(b"\x89PNG") else ".jpg"
