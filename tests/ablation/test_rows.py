import pytest

from yolojax.ablation.rows import SAME, read_rows

BASE = '''"""The base.

More of it.
"""
from yolojax.config import Config

def get_config(arg):
    config = Config()
    config.model.name = "yolov2_tiny_voc"
    config.model.classes = ("cat", "dog")
    config.model.anchors = ((1.0, 1.0),)
    config.model.width = 0.5 if arg == "small" else 1.0
    return config
'''


@pytest.fixture
def folder(tmp_path):
    """A folder `study` with the base above; (name, text) adds an overlay."""
    place = tmp_path / "study"
    place.mkdir()
    (place / "00_base.py").write_text(BASE)
    return place


def add(folder, name, *lines, label="More"):
    body = "\n".join(f"    {line}" for line in lines)
    (folder / name).write_text(f'"""{label}."""\ndef change(config):\n{body}\n')


def test_each_overlay_changes_the_row_before(folder):
    add(folder, "02_b.py", "config.model.anchors += ((config.loss.focal_gamma, 4.0),)", label="B")
    add(folder, "01_a.py", "config.loss.focal_gamma = 3", label="A")
    (folder / "_shared.py").write_text("raise RuntimeError('this is no overlay')")
    base, a, b = read_rows(str(folder))
    assert [row.name for row in (base, a, b)] == ["00_base", "01_a", "02_b"]
    assert [row.label for row in (base, a, b)] == ["The base", "A", "B"]
    assert [row.config.loss.focal_gamma for row in (base, a, b)] == [2.0, 3.0, 3.0]
    assert base.config.model.anchors == a.config.model.anchors == ((1.0, 1.0),)
    assert b.config.model.anchors == ((1.0, 1.0), (3.0, 4.0))
    assert isinstance(a.config.loss.focal_gamma, float)  # as it is after a trip through JSON


def test_the_argument_goes_to_the_base(folder):
    assert read_rows(str(folder))[0].config.model.width == 1.0
    assert read_rows(f"{folder}:small")[0].config.model.width == 0.5


def test_what_is_prepared_is_there_for_the_changes(folder):
    add(folder, "01_a.py", "config.seed += 1")

    def prepare(config):
        config.seed = 5
        return config

    assert [row.config.seed for row in read_rows(str(folder), prepare)] == [5, 6]


def test_a_row_that_changes_nothing_is_not_run(folder):
    add(folder, "01_a.py", "config.model.width = min(config.model.width, 0.5)")
    add(folder, "02_b.py", "config.loss.rescore = False")
    assert [row.not_run for row in read_rows(str(folder))] == ["", "", ""]
    assert [row.not_run for row in read_rows(f"{folder}:small")] == ["", SAME, ""]


def test_a_file_without_docstring_is_called_by_its_name(folder):
    (folder / "01_a.py").write_text("def change(config):\n    config.seed = 1\n")
    assert read_rows(str(folder))[1].label == "01_a"


def test_an_overlay_may_import_what_lies_beside_the_folder_above(tmp_path):
    study = tmp_path / "own_configs" / "study"
    study.mkdir(parents=True)
    (tmp_path / "own_configs" / "shared.py").write_text(BASE)
    (study / "00.py").write_text("from own_configs.shared import get_config\n")
    assert read_rows(str(study))[0].config.model.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["return config"], r"01_a\.py: change\(config\) must .* return nothing, got Config"),
        (["config.model.widht = 2"], r"01_a\.py: config\.model\.widht: .* Did you mean config\.mo"),
        (["config.sede = 2"], r"config\.sede: there is no such field.* Did you mean config\.seed"),
        (["config.seed = 'x'"], r"01_a\.py: config\.seed is 'x': must be a whole number"),
        (["config.model.name = 'yolo2'"], r"01_a\.py: config\.model\.name is 'yolo2'; known"),
        (
            ["config.eval.metric = 'coco_AP'"],
            r"eval\.metric must equal that of the first row, 'voc10'",
        ),
        (
            ["config.data.val = 'shapes:'"],
            r"data\.val must equal that of the first row, 'shapes:val'",
        ),
        (["config.eval.every_images = 64"], r"01_a\.py: config\.eval\.every_images must be 0"),
    ],
)
def test_a_wrong_change_is_named(folder, lines, message):
    add(folder, "01_a.py", *lines)
    with pytest.raises(ValueError, match=message):
        read_rows(str(folder))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("01_a.py", BASE, r"01_a\.py: must have a function change"),
        ("00_a.py", "x = 1", r"00_a\.py: the first overlay must have a function get_config"),
        ("00_a.py", "def get_config(arg):\n    return 3", r"00_a\.py: .* returns a yolojax Config"),
    ],
)
def test_a_missing_function_is_named(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_rows(str(folder))


def test_a_folder_that_is_not_there_or_empty_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        read_rows(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="contains no overlay"):
        read_rows(f"{tmp_path}:small")
