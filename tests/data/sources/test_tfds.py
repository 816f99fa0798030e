import numpy as np
import pytest

from yolojax.data.parsing import RecordList, make_record
from yolojax.data.prepare import prepare_dataset
from yolojax.data.records import BadRecord
from yolojax.data.sources.tfds import find_dataset, load_tfds


def source(stems, label=0):
    image = np.zeros((10, 20, 3), np.uint8)
    box = (10, 0, 20, 5)
    records = [make_record(stem, image, (20, 10), [box], [label]) for stem in stems]
    return RecordList("test", ("cat", "dog"), records)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """DATA_DIR/animals/1.0.0 with the splits train (3 cats) and val (2 dogs)."""
    root = tmp_path_factory.mktemp("data")
    prepare_dataset({"train": source("abc"), "val": source("de", label=1)}, root / "animals")
    return root


def ids(records):
    return [records[index].image_id for index in range(len(records))]


def test_boxes_are_converted_from_yxyx(data_dir):
    record = load_tfds("animals", "train", data_dir=str(data_dir))[0]
    np.testing.assert_allclose(record.boxes, [[0.5, 0.0, 1.0, 0.5]])
    assert record.area.tolist() == [50.0]


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", "abc"), ("", "abcde"), ("train+val", "abcde"), ("train[1:]+val[:1]", "bcd")],
)
def test_splits_are_those_of_tfds(data_dir, split, expected):
    assert ids(load_tfds("animals", split, data_dir=str(data_dir))) == list(expected)


def test_a_missing_split_lists_the_splits(data_dir):
    with pytest.raises(ValueError, match=r"no split 'test'.*there are: train, val"):
        load_tfds("animals", "test", data_dir=str(data_dir))


def test_labels_follow_given_classes(data_dir):
    options = {"data_dir": str(data_dir), "classes": ("dog", "emu", "cat")}
    assert load_tfds("animals", "train", **options)[0].labels.tolist() == [2]
    assert load_tfds("animals", "val", **options)[0].labels.tolist() == [0]


def test_an_unknown_class_is_reported_at_once(data_dir):
    options = {"data_dir": str(data_dir), "classes": ("dog",)}
    assert len(load_tfds("animals", "val", **options)) == 2  # no cat in there
    with pytest.raises(BadRecord, match="a: object 1: class 'cat'"):
        load_tfds("animals", "", **options)
    left = load_tfds("animals", "", on_bad_record="skip", **options)
    assert ids(left) == ["d", "e"]
    assert len(left.skipped) == 3


def test_an_unprepared_set_has_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"tfds build voc/2007 --file_format=array_record"):
        load_tfds("voc/2007")


def test_the_newest_version_of_one_configuration(tmp_path):
    for folder in ("voc/2007/4.0.0", "voc/2007/10.0.0", "voc/2012/4.0.0", "coco/1.0.0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dataset_info.json").write_text("{}")
    assert find_dataset("voc/2007", str(tmp_path)) == tmp_path / "voc/2007/10.0.0"
    assert find_dataset("voc/2007/4.0.0", str(tmp_path)) == tmp_path / "voc/2007/4.0.0"
    assert find_dataset(str(tmp_path / "coco")) == tmp_path / "coco/1.0.0"
    with pytest.raises(ValueError, match="choose one of voc/2007, voc/2007, voc/2012"):
        find_dataset("voc", str(tmp_path))


def build(data_dir, features, example, file_format="array_record"):
    """A set made by tfds with other features."""
    import tensorflow_datasets as tfds

    class Other(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        url_infos = None

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": iter([(0, example)])}

        def _generate_examples(self):
            raise NotImplementedError

    tfds.disable_progress_bar()
    builder = Other(data_dir=str(data_dir), file_format=file_format)
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)


def png():
    import cv2

    return cv2.imencode(".png", np.zeros((10, 20, 3), np.uint8))[1].tobytes()


def test_the_features_of_coco_are_found(tmp_path):
    import tensorflow_datasets as tfds

    objects = {
        "area": np.int64,
        "bbox": tfds.features.BBoxFeature(),
        "id": np.int64,
        "is_crowd": np.bool_,
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
    }
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "image/filename": tfds.features.Text(),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(objects),
    }
    bbox = tfds.features.BBox(ymin=0.0, xmin=0.25, ymax=1.0, xmax=0.5)
    thing = {"area": 33, "bbox": bbox, "id": 5, "is_crowd": True, "label": 1}
    example = {"image": png(), "image/filename": "000009.png", "image/id": 9, "objects": [thing]}
    build(tmp_path, features, example)
    record = load_tfds("other", "train", data_dir=str(tmp_path))[0]
    assert record.image_id == "9"
    assert record.boxes.tolist() == [[0.25, 0.0, 0.5, 1.0]]
    assert (record.labels, record.area, record.crowd, record.difficult) == (1, 33, True, False)


def test_the_label_of_voc_is_not_its_pose(tmp_path):
    import tensorflow_datasets as tfds

    objects = {
        "pose": tfds.features.ClassLabel(names=["frontal", "left"]),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        "bbox": tfds.features.BBoxFeature(),
        "is_difficult": np.bool_,
    }
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "image/filename": tfds.features.Text(),
        "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=["cat", "dog"])),
        "objects": tfds.features.Sequence(objects),
    }
    bbox = tfds.features.BBox(ymin=0.0, xmin=0.0, ymax=1.0, xmax=1.0)
    thing = {"pose": 0, "label": 1, "bbox": bbox, "is_difficult": True}
    image = {"image": png(), "image/filename": "000012.png", "labels": [1]}
    build(tmp_path, features, {**image, "objects": [thing]})
    source = load_tfds("other", "train", data_dir=str(tmp_path))
    assert source.classes == ("cat", "dog")
    assert source[0].image_id == "000012"
    assert (source[0].labels, source[0].difficult, source[0].area) == (1, True, 200)


def test_a_set_of_labelled_pictures(tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        "file_name": tfds.features.Text(),
    }
    build(tmp_path, features, {"image": png(), "label": 1, "file_name": "n02_7.JPEG"})
    source = load_tfds("other", "train", data_dir=str(tmp_path))
    assert (source.classes, source[0].label, source[0].image_id) == (("cat", "dog"), 1, "n02_7")
    assert source[0].boxes.shape == (0, 4)
    turned = load_tfds("other", "train", data_dir=str(tmp_path), classes=("dog", "cat"))
    assert turned[0].label == 0
    with pytest.raises(BadRecord, match="class 'dog' is not one of the classes"):
        load_tfds("other", "train", data_dir=str(tmp_path), classes=("cat",))


def test_a_set_without_boxes_and_labels_is_refused(tmp_path):
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(encoding_format="png"), "text": tfds.features.Text()}
    build(tmp_path, features, {"image": png(), "text": "a"})
    with pytest.raises(ValueError, match=r"nor for classification.*its features are image, text"):
        load_tfds("other", "train", data_dir=str(tmp_path))


def test_a_format_without_random_access_has_the_command(tmp_path):
    prepare_dataset({"train": source("a")}, tmp_path / "old")
    info = tmp_path / "old" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for shard in info.parent.glob("*array_record*"):
        shard.rename(info.parent / shard.name.replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match=r"prepared as tfrecord.*tfds convert_format"):
        load_tfds("old", "train", data_dir=str(tmp_path))
