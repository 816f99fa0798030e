from functools import partial

import numpy as np
import pytest
from turned_pictures import BOX, HEIGHT, WIDTH, encoded, stored_box, stored_size

from yolojax.config import Config
from yolojax.data.from_config import data_priors
from yolojax.data.inspect.box_shapes import grid_shapes
from yolojax.data.parsing import make_record
from yolojax.data.records import BadRecord, Record


def record(image, boxes=()):
    boxes, none = np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes))
    return Record("0", image, boxes, none.astype(int), none > 0, none > 0, none)


class Source(list):
    name = "test:source"


@pytest.mark.parametrize(
    ("letterbox", "wanted"),
    [
        (True, [5, 2.5]),  # 200 x 100 fits into 320 x 320 by 1.6: half of it is 160 x 80 pixels
        (False, [5, 5]),  # half of the 320 x 320 pixels that it is stretched to
    ],
)
def test_shapes_are_measured_in_the_fitted_picture(letterbox, wanted):
    picture = record(np.zeros((100, 200, 3), np.uint8), [[0, 0.5, 0.5, 1], [0.1, 0.1, 0.1, 0.4]])
    empty = record(np.zeros((9, 9, 3), np.uint8))
    shapes = grid_shapes(Source([empty, picture]), (320, 320), letterbox=letterbox)
    np.testing.assert_allclose(shapes, [wanted])  # a box without width has no shape


def test_a_source_without_boxes_cannot_be_clustered():
    with pytest.raises(ValueError, match="test:source: no boxes in its 1 pictures"):
        grid_shapes(Source([record(np.zeros((9, 9, 3), np.uint8))]), (320, 320))


@pytest.mark.parametrize("letterbox", [True, False])
@pytest.mark.parametrize("orientation", [1, 5, 6, 8])
def test_boxes_of_the_stored_picture_are_measured_upright(tmp_path, orientation, letterbox):
    (tmp_path / "a.webp").write_bytes(encoded("WEBP", orientation))
    size = stored_size(orientation)
    box, record = stored_box(orientation), partial(make_record, "0", tmp_path / "a.webp")
    source = Source([record(size, [box], [0], stated=size)])
    shapes = grid_shapes(source, (HEIGHT, WIDTH), letterbox=letterbox)
    np.testing.assert_allclose(shapes * 32, [(BOX[2] - BOX[0], BOX[3] - BOX[1])], atol=1e-4)


def test_pictures_that_cannot_be_used_are_named_or_skipped(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    good = record(np.zeros((100, 200, 3), np.uint8), [[0, 0, 0.5, 0.5]])
    source = Source([record(tmp_path / "a.jpg", [[0, 0, 1, 1]]), good, good._replace(size=(9, 9))])
    with pytest.raises(BadRecord, match=r"a\.jpg: not a picture"):
        grid_shapes(source, (320, 320))
    skipped = []
    assert len(grid_shapes(source, (320, 320), on_bad=skipped.append)) == 1
    assert len(skipped) == 2


def test_priors_of_the_training_data_are_in_cells_of_its_images(monkeypatch):
    boxes = [[0, 0, w, h] for w, h in ((0.1, 0.2), (0.1, 0.2), (0.5, 0.5), (0.5, 0.5))]
    source = Source([record(np.zeros((100, 200, 3), np.uint8), boxes)])
    monkeypatch.setattr("yolojax.data.from_config.load_source", lambda *_, **__: source)
    source.skipped = source.notes = []
    config = Config()
    config.data.image_size = (320, 320)
    np.testing.assert_allclose(data_priors(config, 2), [(1, 1), (5, 2.5)], atol=1e-4)
    config.data.letterbox = False
    np.testing.assert_allclose(data_priors(config, 2), [(1, 2), (5, 5)], atol=1e-4)
