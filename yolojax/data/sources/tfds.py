"""TensorFlow Datasets of boxes or labels, prepared as ArrayRecord and read without TensorFlow."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from yolojax.data.parsing import class_index, clip_box, collect, image_size, make_record
from yolojax.data.records import BadRecord, Record, trained_boxes

HOW_TO_PREPARE = (
    "Prepare a public set once, in an environment with TensorFlow, by `tfds build {name} "
    "--file_format=array_record --data_dir={data_dir}`, or your own data by "
    "`yolojax prepare SOURCE --out {out}`."
)


class Fields(NamedTuple):
    """The names of the features of a data set; "" if it does not have one.

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
    """A Source that reads each record, with its encoded picture, on access."""

    name: str
    classes: tuple[str, ...]
    examples: Sequence[dict[str, Any]]
    fields: Fields
    names: tuple[str, ...]  # of the labels in the data set
    rows: Sequence[int]  # of `examples`, one for each record
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    box_counts: Sequence[int] = ()  # as `trained_boxes` of each record, if they have been read
    version: str = ""  # names the content: data set, version, split, number of examples

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
    """Open a prepared set with boxes, or with one label per picture.

    Records are read on access. They are all read once beforehand only if bad ones are to be
    skipped, or if the data set has a class that is not in `classes`.

    Args:
        dataset: "voc/2007", or the folder of a prepared set, both below `data_dir`.
        split: as in tfds: "train", "train+validation", "train[:10%]"; "": all.
        data_dir: by default TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Raises:
        FileNotFoundError: it is not prepared; the message has the command that does so.
        ValueError: there is no such split (the message lists the splits), or the features have
            neither boxes nor a label.
        BadRecord: a box or label cannot be used.
    """
    import tensorflow_datasets as tfds  # slow to import, and only this scheme needs it

    # Always from the directory: the builders of some public sets need TensorFlow even to read.
    builder = tfds.builder_from_directory(find_dataset(dataset, data_dir))
    fields = _find_fields(builder.info.features, dataset)
    examples = _open(builder, split, fields, dataset)
    features = builder.info.features
    names = tuple((features[fields.objects] if fields.objects else features)[fields.label].names)
    name = name or f"tfds:{dataset}:{split}"
    version = f"{builder.info.full_name} {split or 'all'} {len(examples)}"
    source = TfdsSource(
        name,
        tuple(classes) or names,
        examples,
        fields,
        names,
        range(len(examples)),
        version=version,
    )
    if on_bad_record == "error" and set(names) <= set(source.classes):
        return source
    return _without_bad(source, on_bad_record)


def _without_bad(source: TfdsSource, on_bad_record: str) -> TfdsSource:
    def check(row: int) -> tuple[int, int]:
        return row, trained_boxes(source[row])

    checked, skipped = collect(check, source.rows, on_bad_record)
    rows, counts = zip(*checked, strict=True) if checked else ((), ())
    return replace(source, rows=rows, skipped=skipped, box_counts=counts)


def find_dataset(dataset: str, data_dir: str = "") -> Path:
    """Find the folder with dataset_info.json in DATA_DIR/DATASET or below; the newest version.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several configurations.
    """
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    tried = []
    for base in [data_dir] if data_dir else ["", default]:
        root = Path(base).expanduser() / Path(dataset).expanduser()
        for pattern in ("", "*", "*/*"):  # the version itself, NAME/VERSION, NAME/CONFIG/VERSION
            folders = [p.parent for p in root.glob(f"{pattern}/dataset_info.json".lstrip("/"))]
            if folders:
                return _newest(folders, dataset)
        tried.append(str(root))
    tried = list(dict.fromkeys(tried))
    how = HOW_TO_PREPARE.format(name=dataset, data_dir=data_dir or default, out=tried[-1])
    raise FileNotFoundError(f"{' and '.join(tried)}: no prepared dataset {dataset!r}. {how}")


def _newest(folders: list[Path], dataset: str) -> Path:
    """Return the newest of several versions of one configuration."""
    if len({folder.parent for folder in folders}) > 1:
        there = ", ".join(sorted(f"{dataset}/{folder.parent.name}" for folder in folders))
        raise ValueError(f"tfds:{dataset} has several configurations; choose one of {there}.")
    return max(folders, key=lambda folder: [int(n) for n in folder.name.split(".") if n.isdigit()])


def _find_fields(features: Any, dataset: str) -> Fields:
    """Find features by type, as data sets name them differently."""
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
        f"tfds:{dataset} is not a set for detection, which needs an Image and a Sequence with a "
        "BBoxFeature and a ClassLabel, nor for classification, which needs an Image and a "
        f"ClassLabel; its features are {', '.join(sorted(features))}."
    )


def _first(features: Any, kind: type, preferred: str) -> str:
    """Return a feature of this type; VOC has a second ClassLabel, the pose."""
    names = sorted(key for key in features if isinstance(features[key], kind))
    return preferred if preferred in names else (names or [""])[0]


def _open(builder: Any, split: str, fields: Fields, dataset: str) -> Sequence[dict[str, Any]]:
    """Open the examples of the split, with encoded pictures."""
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
    """Return the COCO id, the file name without suffix as in VOC, or else the row."""
    if fields.image_id:
        value = example[fields.image_id]
        return value.decode() if isinstance(value, bytes) else str(value)
    if fields.filename:
        return str(PurePosixPath(example[fields.filename].decode()).with_suffix(""))
    return str(row)
