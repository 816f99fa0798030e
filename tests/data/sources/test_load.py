import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolojax.data.records import BadRecord, load_image
from yolojax.data.sources.load import JOIN, load_source

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def write_darknet(root, name, label="0 .5 .5 .5 .5\n", names="[cat, dog]"):
    """ROOT/NAME.yaml: one split, train, of one picture."""
    for folder in ("images", "labels"):
        (root / name / folder).mkdir(parents=True)
    cv2.imwrite(str(root / name / "images" / "a.png"), np.zeros((10, 20, 3), np.uint8))
    (root / name / "labels" / "a.txt").write_text(label)
    (root / f"{name}.yaml").write_text(f"train: {name}/images\nnames: {names}\n")


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("tfds:voc/2007:train+validation", 1),
        ("tfds:voc/2007:train+validation+tfds:voc/2012:train", 2),
        ("voc:a+b:train+shapes:", 2),
        ("coco:a.json:images+darknet:a.yaml", 2),
        ("voc:a:train + voc:b:train", 2),
    ],
)
def test_a_plus_joins_only_before_a_scheme(spec, parts):
    assert len(JOIN.split(spec)) == parts


def test_shapes_are_a_source():
    source = load_source("shapes:val")
    assert source.name == "shapes:val"
    assert len(source) == 200
    assert load_image(source[0]).shape == (128, 128, 3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cocoo:a.json:b", r"got 'cocoo:a.json:b'. Did you mean coco:"),
        ("bccd", "SOURCE must be one of voc:"),
        ("voc:", r"SOURCE must be voc:ROOT\[:SPLIT\], got 'voc:'"),
        ("shapes:test", "there are: train, val"),
        ("coco:a.json", r"a.json: no such file; write coco:FILE.json"),
        ("coco:a.json:", r"a.json: no such file; write coco:FILE.json"),
        ("coco:a\0.json:b", "text without NUL"),
        ("coco:C:\\d\\a.json:C:\\d\\images", r"C:\\d\\images: no such folder"),
        ("voc:D:\\data\\VOC2007:train", r"D:\\data\\VOC2007: no such folder"),
        ("voc:..:..", r"\.\.:\.\.: no such folder"),
        ("voc:~nobody_of_this_name/x", "~nobody_of_this_name/x: no such folder"),
        ("folder:" + "a" * 5000, "not a folder"),
    ],
)
def test_a_wrong_string_is_explained(spec, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_source(spec)


def test_on_bad_record_is_checked():
    with pytest.raises(ValueError, match="got 'ignore'"):
        load_source("shapes:", on_bad_record="ignore")


def test_joined_sources_are_concatenated(tmp_path):
    write_darknet(tmp_path, "one")
    write_darknet(tmp_path, "two", names="[dog, cat]")
    spec = "darknet:one.yaml:train+darknet:two.yaml"
    source = load_source(spec, dir=str(tmp_path))
    assert (source.name, source.classes, len(source)) == (spec, ("cat", "dog"), 2)
    assert [source[i].image_id for i in range(2)] == ["0/a", "1/a"]
    assert [source[i].labels.tolist() for i in range(2)] == [[0], [1]]  # mapped by name
    assert source[-1].image_id == "1/a"
    with pytest.raises(IndexError):
        source[2]


def write_coco(root, name, *ids, annotated=True):
    cv2.imwrite(str(root / "a.png"), np.zeros((10, 20, 3), np.uint8))
    images = [{"id": i, "file_name": "a.png", "width": 20, "height": 10} for i in ids]
    content = {"images": images, "categories": [{"id": 1, "name": "cat"}]}
    (root / name).write_text(json.dumps(content | ({"annotations": []} if annotated else {})))
    return f"coco:{root / name}:{root}"


def test_a_coco_json_knows_its_pictures(tmp_path):
    write_coco(tmp_path, "ann.json", 1)
    assert load_source(f"coco:{tmp_path}/ann.json")[0].image == tmp_path / "a.png"
    (tmp_path / "images").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "images" / "a.png")
    assert load_source(f"coco:{tmp_path}/ann.json")[0].image == tmp_path / "images" / "a.png"


@pytest.mark.parametrize("folder", ["d:1", "my set: v2", "C:", "a.json:b"])
def test_paths_may_have_colons_and_blanks(tmp_path, folder):
    (tmp_path / folder).mkdir()
    root = tmp_path / folder
    write_coco(root, "ann.json", 1)
    assert load_source(f"coco:{folder}/ann.json:{folder}", dir=str(tmp_path))[0].image.is_file()
    assert load_source(f"coco:{root}/ann.json:{root}")[0].image == root / "a.png"


def test_a_path_that_ends_like_a_split_is_a_path(tmp_path):
    for name in ("set:v2/cat", "other/v2/dog"):
        (tmp_path / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / "a.png"), np.zeros((10, 20, 3), np.uint8))
    assert load_source(f"folder:{tmp_path}/set:v2").classes == ("cat",)
    assert load_source(f"folder:{tmp_path}/other:v2").classes == ("dog",)


def test_joined_sources_keep_the_ids_of_their_files_if_they_differ(tmp_path):
    a, b = write_coco(tmp_path, "a.json", 1, 2), write_coco(tmp_path, "b.json", "x", 3)
    assert load_source(f"{a}+{b}").original_ids == {"0/1": 1, "0/2": 2, "1/x": "x", "1/3": 3}
    assert load_source(f"{a}+{a}").original_ids == {}


def test_joined_sources_have_ground_truth_if_all_have(tmp_path):
    a, b = write_coco(tmp_path, "a.json", 1), write_coco(tmp_path, "b.json", 2, annotated=False)
    assert [load_source(spec).annotated for spec in (a, f"{a}+{a}", f"{a}+{b}")] == [
        True,
        True,
        False,
    ]


def test_joined_sources_must_have_the_same_classes(tmp_path):
    write_darknet(tmp_path, "one", names="[cat]")
    write_darknet(tmp_path, "two", names="[emu]")
    spec = "darknet:one.yaml+darknet:two.yaml"
    with pytest.raises(BadRecord, match=r"class 'emu' is not one of the classes \(cat\)"):
        load_source(spec, dir=str(tmp_path))
    source = load_source(spec, dir=str(tmp_path), classes=("emu", "cat"))
    assert source.classes == ("emu", "cat")
    assert [source[i].labels.tolist() for i in range(2)] == [[1], [0]]


def test_a_source_that_skips_everything_is_an_error(tmp_path):
    write_darknet(tmp_path, "one", label="9 .5 .5 .5 .5\n")
    with pytest.raises(ValueError, match=r"no usable record.*a\.txt:1"):
        load_source("darknet:one.yaml", dir=str(tmp_path), on_bad_record="skip")


def test_absolute_paths_do_not_start_at_dir(tmp_path):
    write_darknet(tmp_path, "one")
    assert len(load_source(f"darknet:{tmp_path / 'one.yaml'}:train", dir="/nowhere")) == 1


def test_tfds_is_imported_only_when_it_is_needed():
    code = (
        "import sys; from yolojax.data.sources.load import load_source; load_source('shapes:val'); "
        "sys.exit(any(name.startswith('tensorflow') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the data sets next to the project are missing"
)


def records(spec):
    source = load_source(spec, dir=str(SHARED))
    return source, [source[index] for index in range(len(source))]


@needs_shared
@pytest.mark.parametrize(
    ("spec", "pictures", "boxes", "classes"),  # from the README of each set
    [
        ("voc:bccd", 364, 4886, {"RBC": 4153, "WBC": 372, "Platelets": 361}),
        ("voc:bccd:train", 205, None, {}),
        ("voc:bccd:val", 87, None, {}),
        ("voc:bccd:test", 72, None, {}),
        ("voc:raccoon:train+voc:raccoon:val", 200, 217, {"raccoon": 217}),
        ("voc:cat_faces", 100, 124, {"Cat_Face": 124}),
        ("voc:voc2012_animals", 326, 666, {"sheep": 149, "cow": 134, "person": 99, "cat": 69}),
        ("darknet:coco256/data.yaml", 256, 1827, {}),
    ],
)
def test_counts_of_real_sets(spec, pictures, boxes, classes):
    source, loaded = records(spec)
    labels = np.concatenate([record.labels for record in loaded])
    assert len(loaded) == pictures
    assert boxes in (None, len(labels))
    for name, count in classes.items():
        assert np.sum(labels == source.classes.index(name)) == count


@needs_shared
@pytest.mark.parametrize("split", ["train", "val"])
def test_three_formats_of_one_data_set(split, tmp_path):
    folder = f"coco256/images/{split}2017"
    (tmp_path / "list.txt").write_text("\n".join(map(str, sorted((SHARED / folder).iterdir()))))
    names = SHARED / "coco256/coco.names"
    (tmp_path / "a.data").write_text(f"classes=80\ntrain={tmp_path}/list.txt\nnames={names}\n")
    path = f"coco256/annotations/instances_{split}2017.json"
    specs = [f"darknet:coco256/data.yaml:{split}", f"darknet:{tmp_path}/a.data"]
    sources, lists = zip(*map(records, [*specs, f"coco:{path}:{folder}"]), strict=True)
    assert len({source.classes for source in sources}) == 1
    assert sources[2].category_ids[-1] == 90
    assert [record.image_id for record in lists[0]] == [r.image_id for r in lists[1]]
    of_id = {int(record.image_id): record for record in lists[2]}
    for yaml_record, data_record in zip(*lists[:2], strict=True):
        coco_record = of_id[int(yaml_record.image_id)]
        np.testing.assert_array_equal(yaml_record.boxes, data_record.boxes)
        np.testing.assert_array_equal(yaml_record.labels, coco_record.labels)
        # The text files have 6 decimals, the JSON hundredths of a pixel.
        np.testing.assert_allclose(yaml_record.boxes, coco_record.boxes, atol=1e-4)
