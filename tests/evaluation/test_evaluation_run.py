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
from yolojax.data.records import Record
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
