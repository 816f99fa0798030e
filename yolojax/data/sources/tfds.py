"""TensorFlow Datasets of boxes or labels, prepared as ArrayRecord; read without TensorFlow."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from yolojax.data.parsing import class_index, clip_box, collect, image_size, make_record
from yolojax.data.records import BadRecord, Record

HOW_TO_PREPARE = (
    "A public set is prepared once, in an environment that has TensorFlow, by `tfds build {name} "
    "--file_format=array_record --data_dir={data_dir}`; a folder of your own by "
    "`yolojax prepare SOURCE --out {out}`."
)


class Fields(NamedTuple):
    """Names of the features that hold a set's parts; "" where it has none.

    A classification set has no `objects`; its `label` is that of the picture.
    """

    image: str
    filename: str
    image_id: str
    objects: str
    bbox: str
    label: str
    difficult: str
    crowd: str
    area: str


@dataclass(frozen=True)
class TfdsSource:
    """A Source that reads each record, encoded picture included, when it is asked for."""

    name: str
    classes: tuple[str, ...]
    examples: Sequence[dict[str, Any]]
    fields: Fields
    names: tuple[str, ...]  # of the labels in the set
    rows: Sequence[int]  # of `examples`, one for each record
    skipped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Record:
        row = self.rows[index]
        return _read_record(self.examples[row], row, self)


def load_tfds(
    dataset: str,
    split: str = "",
    *,
    data_dir: str = "",
    name: str = "",
    classes: Sequence[str] = (),
    on_bad_record: str = "error",
) -> TfdsSource:
    """A prepared set: an image and a sequence of boxes and labels, or an image and its label.

    Records are read one by one when they are asked for. They are all read once beforehand only if
    bad ones must be left out, or if the set has a class that is not among `classes`.

    Args:
        dataset: "voc/2007", or the folder of a prepared set, both below `data_dir`.
        split: as in tfds: "train", "train+validation", "train[:10%]"; "" is all of them.
        data_dir: by default TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Raises:
        FileNotFoundError: not prepared; the message has the command that does it.
        ValueError: no such split (those there are in the message), or neither boxes nor a label
            among its features.
        BadRecord: a box or label that cannot be used.
    """
    import tensorflow_datasets as tfds  # slow to import, and only this scheme needs it

    # From the directory always: the builders of some public sets need TensorFlow even to read.
    builder = tfds.builder_from_directory(find_dataset(dataset, data_dir))
    fields = _find_fields(builder.info.features, dataset)
    examples = _open(builder, split, fields, dataset)
    features = builder.info.features
    names = tuple((features[fields.objects] if fields.objects else features)[fields.label].names)
    name = name or f"tfds:{dataset}:{split}"
    source = TfdsSource(
        name, tuple(classes) or names, examples, fields, names, range(len(examples))
    )
    if on_bad_record == "error" and set(names) <= set(source.classes):
        return source
    return _without_bad(source, on_bad_record)


def _without_bad(source: TfdsSource, on_bad_record: str) -> TfdsSource:
    def check(row: int) -> int:
        source[row]
        return row

    rows, skipped = collect(check, source.rows, on_bad_record)
    return replace(source, rows=rows, skipped=skipped)


def find_dataset(dataset: str, data_dir: str = "") -> Path:
    """The folder with dataset_info.json: DATA_DIR/DATASET or below it, the newest version.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it has several configurations.
    """
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    tried = []
    for base in [data_dir] if data_dir else ["", default]:
        root = Path(base).expanduser() / Path(dataset).expanduser()
        for pattern in ("", "*", "*/*"):  # the version itself, NAME/VERSION, NAME/CONFIG/VERSION
            found = [p.parent for p in root.glob(f"{pattern}/dataset_info.json".lstrip("/"))]
            if found:
                return _newest(found, dataset)
        tried.append(str(root))
    tried = list(dict.fromkeys(tried))
    how = HOW_TO_PREPARE.format(name=dataset, data_dir=data_dir or default, out=tried[-1])
    raise FileNotFoundError(f"{' and '.join(tried)}: no prepared dataset {dataset!r} there. {how}")


def _newest(folders: list[Path], dataset: str) -> Path:
    """The highest of several versions of one configuration."""
    if len({folder.parent for folder in folders}) > 1:
        there = ", ".join(sorted(f"{dataset}/{folder.parent.name}" for folder in folders))
        raise ValueError(f"tfds:{dataset} has several configurations; choose one of {there}.")
    return max(folders, key=lambda folder: [int(n) for n in folder.name.split(".") if n.isdigit()])


def _find_fields(features: Any, dataset: str) -> Fields:
    """By type, so that sets with other names for the same things are read too."""
    import tensorflow_datasets as tfds

    image = _first(features, tfds.features.Image, "image")
    top = [key if key in features else "" for key in ("image/filename", "image/id")]
    groups = (key for key in features if isinstance(features[key], tfds.features.Sequence))
    for objects in sorted(groups):
        inner = getattr(features[objects], "feature", None)
        if not isinstance(inner, tfds.features.FeaturesDict):
            continue
        bbox = _first(inner, tfds.features.BBoxFeature, "bbox")
        label = _first(inner, tfds.features.ClassLabel, "label")
        if image and bbox and label:
            optional = ("is_difficult", "is_crowd", "area")
            rest = [key if key in inner else "" for key in optional]
            return Fields(image, *top, objects, bbox, label, *rest)
    label = _first(features, tfds.features.ClassLabel, "label")
    if image and label:
        filename = _first(features, tfds.features.Text, "file_name")
        return Fields(image, top[0] or filename, top[1], "", "", label, "", "", "")
    raise ValueError(
        f"tfds:{dataset} is no set for detection, which needs an Image and a Sequence with a "
        "BBoxFeature and a ClassLabel, nor for classification, which needs an Image and a "
        f"ClassLabel; its features are {', '.join(sorted(features))}."
    )


def _first(features: Any, kind: type, preferred: str) -> str:
    """Name of the feature of that type; VOC, say, has a second ClassLabel, the pose."""
    found = sorted(key for key in features if isinstance(features[key], kind))
    return preferred if preferred in found else (found or [""])[0]


def _open(builder: Any, split: str, fields: Fields, dataset: str) -> Sequence[dict[str, Any]]:
    """The examples of the split, their pictures still encoded."""
    import tensorflow_datasets as tfds

    decoders = {fields.image: tfds.decode.SkipDecoding()}
    try:
        return builder.as_data_source(split or "all", decoders=decoders)
    except NotImplementedError as error:
        raise ValueError(
            f"{builder.data_dir}: prepared as {builder.info.file_format.value}, which has no "
            "random access. Convert it in an environment that has TensorFlow: `tfds convert_format "
            f"--dataset_version_dir={builder.data_dir} --out_file_format=array_record`."
        ) from error
    except (ValueError, KeyError) as error:
        there = ", ".join(builder.info.splits)
        raise ValueError(
            f"tfds:{dataset}: no split {split!r} ({error}); there are: {there}."
        ) from error


def _read_record(example: dict[str, Any], row: int, source: TfdsSource) -> Record:
    fields = source.fields
    image_id = _image_id(example, row, fields)
    where = f"{source.name}: {image_id}"
    if not fields.objects:
        return _read_labelled(example, image_id, where, source)
    objects = example[fields.objects]
    width, height = size = image_size(example[fields.image], where)
    index = {class_name: label for label, class_name in enumerate(source.classes)}
    boxes, labels = [], []
    for number, (box, label) in enumerate(
        zip(objects[fields.bbox], objects[fields.label], strict=True), 1
    ):
        place = f"{where}: object {number}"
        if label < 0:
            raise BadRecord(f"{place}: has no class (label {label}); a split without annotations?")
        labels.append(class_index(source.names[label], index, place))
        ymin, xmin, ymax, xmax = (float(edge) for edge in box)
        pixels = (xmin * width, ymin * height, xmax * width, ymax * height)
        boxes.append(clip_box(pixels, width, height, place))
    optional = zip(("difficult", "crowd", "area"), fields[-3:], strict=True)
    rest = {key: list(objects.get(feature, ())) for key, feature in optional}
    return make_record(image_id, example[fields.image], size, boxes, labels, **rest)


def _read_labelled(example, image_id: str, where: str, source: TfdsSource) -> Record:
    label = example[source.fields.label]
    if label < 0:
        raise BadRecord(f"{where}: has no class (label {label}); a split without annotations?")
    index = {class_name: i for i, class_name in enumerate(source.classes)}
    record = make_record(image_id, example[source.fields.image], (1, 1), [], [])
    return record._replace(label=class_index(source.names[label], index, where))


def _image_id(example: dict[str, Any], row: int, fields: Fields) -> str:
    """The id of COCO, the file's name without its suffix as in VOC, or else the row."""
    if fields.image_id:
        value = example[fields.image_id]
        return value.decode() if isinstance(value, bytes) else str(value)
    if fields.filename:
        return str(PurePosixPath(example[fields.filename].decode()).with_suffix(""))
    return str(row)
