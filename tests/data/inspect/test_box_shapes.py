import numpy as np
import pytest
from PIL import Image

from yolojax.config import Config
from yolojax.data.from_config import data_priors
from yolojax.data.inspect.box_shapes import grid_shapes, picture_size
from yolojax.data.records import BadRecord, Record, load_image


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


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_size_is_that_of_the_upright_picture(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    for image in (path, path.read_bytes()):
        assert picture_size(record(image)) == load_image(record(image)).shape[:2]


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(BadRecord, match=r"a\.jpg: not a picture"):
        picture_size(record(tmp_path / "a.jpg"))


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
