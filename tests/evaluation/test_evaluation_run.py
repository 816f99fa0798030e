"""Evaluate a source with a fake network."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from turned_pictures import BOX as UPRIGHT
from turned_pictures import HEIGHT, WIDTH, encoded, stored_box, stored_size

from yolojax.config import Config, DataConfig, EvalConfig, ModelConfig
from yolojax.data.records import BadRecord, Record
from yolojax.data.sources.load import load_source
from yolojax.distributed.sharding import make_mesh
from yolojax.evaluation.detection import evaluate_source, make_programs
from yolojax.evaluation.significance import paired_difference, read_matches
from yolojax.heads.predictions import Predictions
from yolojax.tasks import Task

BOX = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32)


class FakeNetwork:
    """A network that records the dtypes of its inputs."""

    def __init__(self):
        self.dtypes = set()

    def apply(self, variables, image, *, train):
        self.dtypes.add(image.dtype.name)
        return image.mean((1, 2, 3))


class OneSquare:
    """A source of images with a box in the centre."""

    name, classes, skipped = "memory", ("square",), ()

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = np.full((48, 48, 3), 80 * index, np.uint8)
        no = np.zeros(1, bool)
        return Record(str(index), image, BOX, np.zeros(1, np.int32), no, no, np.float32([576]))


def decode(raw):
    """Decode to the centre box with score 1."""
    one = jnp.ones((len(raw), 1))
    return Predictions(jnp.tile(BOX, (len(raw), 1, 1)), one, one[..., None])


@pytest.mark.parametrize("resize", ["opencv", "darknet"])
def test_evaluate_and_draw_both_types_of_input(resize, tmp_path):
    config = Config(
        model=ModelConfig(classes=("square",)),
        data=DataConfig(image_size=(32, 32), resize=resize, threads=0),
        eval=EvalConfig(batch_size=2, bootstrap=0),
    )
    network = FakeNetwork()
    programs = make_programs(Task(network, decode, None), config.eval)
    mesh = make_mesh(jax.devices()[:1])
    result = evaluate_source(programs, {}, OneSquare(), config, mesh, tmp_path)
    assert network.dtypes == {"float32"}
    assert (result["voc10"], result["detections"]) == (1.0, 3)
    assert ("Darknet" in result["protocol"]["input"]) == (resize == "darknet")
    assert result["errors"]["all"]["correct"] == 1.0
    assert result["settings"]["score_threshold"] == 0.005
    kept = read_matches(tmp_path / "eval" / "val_matches.npz", "coco_AP")
    assert (kept.ids, kept.hits.all()) == (("0", "1", "2"), True)
    assert paired_difference([kept], [kept], None, resamples=5).ours == 1.0
    with Image.open(tmp_path / "plots" / "val_batch0_labels.jpg") as drawn:
        tile = np.asarray(drawn)[5:60, -60:-5]  # inside the corner of the second picture
    assert abs(tile.mean() - 80) < 2


def test_ground_truth_is_turned_with_its_picture(tmp_path):
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number, orientation in enumerate((1, 5, 6, 7, 8)):
        (tmp_path / "images" / f"{number}.png").write_bytes(encoded("PNG", orientation))
        width, height = stored_size(orientation)
        x1, y1, x2, y2 = stored_box(orientation)
        image = {"id": number, "file_name": f"{number}.png", "width": width, "height": height}
        images.append(image)
        box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": 1, "id": number}
        annotations.append(box | {"image_id": number, "iscrowd": 0, "area": 128})
    categories = [{"id": 1, "name": "square"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    config = Config(
        model=ModelConfig(classes=("square",)),
        data=DataConfig(image_size=(32, 32), letterbox=False, threads=0),
        eval=EvalConfig(batch_size=2, bootstrap=0),
    )

    def decode_upright(raw):
        box = np.float32([UPRIGHT]) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
        return decode(raw)._replace(boxes=jnp.tile(box, (len(raw), 1, 1)))

    programs = make_programs(Task(FakeNetwork(), decode_upright, None), config.eval)
    source = load_source(f"coco:{tmp_path}/a.json:{tmp_path}/images")
    mesh = make_mesh(jax.devices()[:1])
    result = evaluate_source(programs, {}, source, config, mesh, tmp_path)
    assert (result["coco_AP"], result["detections"]) == (1.0, 5)


class HalfBroken(OneSquare):
    """The same, but the picture of the second record is damaged, and the third record too."""

    skipped = ("a.xml: no size",)

    def __getitem__(self, index):
        if index == 2:
            raise BadRecord("record 2 is bad")
        record = super().__getitem__(index)
        return record._replace(image=b"<html>") if index == 1 else record


def settings(**data):
    return Config(
        model=ModelConfig(classes=("square",)),
        data=DataConfig(image_size=(32, 32), threads=0, **data),
        eval=EvalConfig(batch_size=2, bootstrap=5),
    )


def evaluated(source, config, folder, **options):
    programs = make_programs(Task(FakeNetwork(), decode, None), config.eval)
    mesh = make_mesh(jax.devices()[:1])
    return evaluate_source(programs, {}, source, config, mesh, folder, **options)


def test_pictures_that_cannot_be_read_count_as_missed(tmp_path, capsys):
    with pytest.warns(UserWarning, match="bad record number"):
        result = evaluated(HalfBroken(), settings(on_bad_record="skip"), tmp_path)
    assert (result["images"], result["objects"], result["detections"]) == (3, 2, 1)
    assert result["voc10"] == 0.5
    assert result["per_class"]["square"]["recall"] == 0.5
    assert result["unreadable"] == ["1", "record 2"]
    assert json.loads((tmp_path / "eval" / "val.json").read_text()) == result
    text = capsys.readouterr().out
    assert "count as missed or wrong: 2 of 3 pictures (1, record 2)" in text
    assert "unusable annotations: 1 (a.xml: no size)" in text
    with pytest.raises(BadRecord, match="1: not a picture"):
        evaluated(HalfBroken(), settings(), tmp_path)


class NotAnnotated(OneSquare):
    """Pictures without ground truth, with the ids of a COCO file."""

    annotated, category_ids = False, (7,)
    original_ids = {"0": "img_0", "1": 17, "2": "2"}  # noqa: RUF012

    def __getitem__(self, index):
        record = super().__getitem__(index)
        no = np.zeros(0)
        return record._replace(boxes=no.reshape(0, 4), labels=no.astype(int), area=no,
                               difficult=no.astype(bool), crowd=no.astype(bool))  # fmt: skip


def test_without_annotations_detections_are_written_and_no_numbers(tmp_path, capsys):
    result = evaluated(NotAnnotated(), settings(), tmp_path)
    assert (result["annotated"], result["voc10"], result["coco_AP"]) == (False, None, None)
    rows = json.loads((tmp_path / "eval" / "val_coco.json").read_text())
    assert [(row["image_id"], row["category_id"]) for row in rows] == [
        ("img_0", 7), (17, 7), ("2", 7),
    ]  # fmt: skip
    text = capsys.readouterr().out
    assert "3 detections in 3 images are written; the source has no annotations" in text
    assert "VOC07" not in text
    with pytest.raises(ValueError, match="no annotations to count errors with"):
        evaluated(NotAnnotated(), settings(), tmp_path, errors=True)


@pytest.mark.parametrize("kind", ["darknet", "list", "voc", "coco"])
def test_ground_truth_of_pictures_that_no_record_has_counts_as_missed(kind, tmp_path):
    """The first of two pictures is damaged (darknet, which reads its size) or missing."""
    for folder in ("images", "labels", "Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    place = tmp_path / ("JPEGImages" if kind == "voc" else "images")
    for name in "ab":
        Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(place / f"{name}.jpg")
    if kind in ("darknet", "list"):
        (place / "a.jpg").write_bytes(b"")
        if kind == "list":
            (place / "a.jpg").unlink()
        for name in "ab":
            (tmp_path / "labels" / f"{name}.txt").write_text("0 .5 .5 .5 .5\n")
        (tmp_path / "val.txt").write_text("images/a.jpg\nimages/b.jpg\n")
        val = "val.txt" if kind == "list" else "images"
        (tmp_path / "data.yaml").write_text(f"train: {val}\nval: {val}\nnames: [square]\n")
        spec = f"darknet:{tmp_path}/data.yaml:val"
    else:
        (place / "a.jpg").unlink()
    if kind == "voc":
        box = "<bndbox><xmin>13</xmin><ymin>13</ymin><xmax>36</xmax><ymax>36</ymax></bndbox>"
        for name in "ab":
            (tmp_path / "Annotations" / f"{name}.xml").write_text(
                f"<annotation><filename>{name}.jpg</filename><size><width>48</width><height>48"
                f"</height></size><object><name>square</name>{box}</object></annotation>"
            )
        (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\nb\n")
        spec = f"voc:{tmp_path}:val"
    elif kind == "coco":
        images = [{"id": i, "file_name": f"{n}.jpg", "width": 48, "height": 48}
                  for i, n in enumerate("ab")]  # fmt: skip
        boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [12, 12, 24, 24]}
                 for i in range(2)]  # fmt: skip
        categories = [{"id": 1, "name": "square"}]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (tmp_path / "a.json").write_text(json.dumps(content))
        spec = f"coco:{tmp_path}/a.json:{tmp_path}/images"
    source = load_source(spec, on_bad_record="skip")
    result = evaluated(source, settings(on_bad_record="skip"), tmp_path)
    assert (result["images"], result["objects"], result["voc10"]) == (2, 2, 0.5)
    assert (len(result["unreadable"]), result["skipped"]) == (1, [])
    assert len(source.skipped) == 1
    joined = load_source(f"{spec}+{spec}", on_bad_record="skip", rename=[("square", "box")])
    assert [record.image_id[0] for record, _ in joined.unreadable] == ["0", "1"]
    with pytest.raises(BadRecord, match=r"a\.jpg"):
        load_source(spec)
