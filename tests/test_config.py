import sys
from typing import get_args

import numpy as np
import pytest

from yolojax.config import (
    CONFIGS,
    OLD_FIELDS,
    Config,
    checked,
    config_file,
    field_types,
    from_dict,
    read_config,
    to_dict,
    with_overrides,
)
from yolojax.config_ranges import value_of

CONFIG_FILE = """
from yolojax.config import Config
def get_config(arg=""):
    config = Config()
    config.seed = len(arg)
    return config
"""


def test_a_config_file_may_have_an_argument(tmp_path):
    path = tmp_path / "c.py"
    path.write_text(CONFIG_FILE)
    assert read_config(path).seed == 0
    assert read_config(f"{path}:smoke").seed == 5


def test_a_config_file_must_return_a_config(tmp_path):
    path = tmp_path / "c.py"
    path.write_text("def get_config(): return {}")
    with pytest.raises(ValueError, match="returns a yolojax Config"):
        read_config(path)
    path.write_text("")
    with pytest.raises(ValueError, match="must have a function get_config"):
        read_config(path)
    with pytest.raises(FileNotFoundError, match=r"a config is a FILE\.py or one of bccd, "):
        read_config(tmp_path / "other.py")


def test_a_shipped_config_is_found_by_name_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_config("quickstart").model.width == 0.25
    assert read_config("quickstart:smoke").model.width == 0.125
    assert config_file("bccd") == CONFIGS / "bccd.py"
    with pytest.raises(FileNotFoundError, match=r"quickstrat: not .*mean 'quickstart'"):
        read_config("quickstrat")


def test_config_files_import_the_files_next_to_them(tmp_path):
    folder = tmp_path / "my_configs"
    folder.mkdir()
    (folder / "base.py").write_text(CONFIG_FILE)
    (folder / "c.py").write_text("from my_configs.base import get_config")
    assert read_config(f"{folder}/c.py:ab").seed == 2
    assert "my_configs" not in sys.modules
    (folder / "base.py").write_text(CONFIG_FILE.replace("len(arg)", "7"))
    assert read_config(f"{folder}/c.py:ab").seed == 7  # read anew


def test_the_fields_have_dotted_names():
    assert {"seed", "model.width", "data.augment.jitter"} <= field_types().keys()
    assert "model" not in field_types()


def test_overrides_have_the_types_of_their_fields():
    before = Config()
    config = with_overrides(
        before,
        ["model.width=1", "model.name=7", "data.image_size=64,96", "loss.coord_weight=2",
         "loss.rescore=False", "optimizer.clip_norm=None", "mesh.shard_state",
         "data.val_map=None", "seed=3", "data.letterbox=false", "model.classes=('a', 'b')"],
    )  # fmt: skip
    assert config.model.width == 1
    assert isinstance(config.model.width, float)
    assert (config.model.name, config.data.image_size) == ("7", (64, 96))
    assert config.loss.coord_weight == 2.0
    assert (config.loss.rescore, config.mesh.shard_state) == (False, True)
    assert config.data.letterbox is False
    assert config.optimizer.clip_norm is config.data.val_map is None
    assert (config.seed, config.model.classes) == (3, ("a", "b"))
    assert before == Config()


def test_pairs_are_set_one_by_one():
    config = with_overrides(Config(), ["loss.arguments.power=3", "loss.arguments.gain=1"])
    config = with_overrides(config, ["loss.arguments.power=2"])
    assert config.loss.arguments == (("gain", 1.0), ("power", 2.0))


def test_names_of_pairs_may_have_dots_and_blanks_and_values_are_text():
    words = ["data.rename.car=vehicle", "data.rename.no. 5=1", "data.rename.a=b=c"]
    config = with_overrides(Config(), [*words, "data.rename.car=None"])
    assert config.data.rename == (("no. 5", "1"), ("a", "b=c"), ("car", "None"))
    config = with_overrides(config, ["data.rename=(('x', 'y'),)", "optimizer.layer_rates.a.b=0"])
    assert config.data.rename == (("x", "y"),)
    assert config.optimizer.layer_rates == (("a.b", 0.0),)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.widht=1", r"--config\.model\.widht=1: .* Did you mean --config\.model\.w"),
        ("batch_size=3", r"Did you mean --config\.optimizer\.batch_size\?"),
        ("loss.box=ciou", r"is now --config\.loss\.box_loss"),
        ("model=1", "there is no such field"),
        ("model.width.x=1", "there is no such field"),
        ("model.width", "give the value after ="),
        ("model.width=wide", r"--config\.model\.width=wide: must be a number\.$"),
        ("model.width=True", r"must be a number\.$"),
        ("loss.rescore=no", r"must be True or False\.$"),
        ("seed=1.5", r"must be a whole number\.$"),
        ("seed=" + "9" * 5000, r"=9{55}: must be a whole number\.$"),
        ("optimizer.ema_decay=none", "must be a number or None"),
        ("optimizer.images=None", "must be a whole number"),
        ("data.multiscale=" + "(" * 9999, "must be whole numbers"),
        ("data.image_size=416", r"must be two whole numbers, as \(320, 416\); put it in quotes"),
        ("data.image_size=1,2,3", "must be two whole numbers"),
        ("model.anchors=1,2", "must be pairs of numbers"),
        ("model.classes=cat", r"must be texts, as \('cat', 'dog'\) or \('cat',\)"),
        ("model.classes=cat,dog", "must be texts"),
        ("data.keep_classes=person", "must be texts"),
        ("data.rename=car", "must be pairs of texts"),
        ("data.rename=('car', 'bus')", "must be pairs of texts"),
        ("data.rename.car", "give the value after ="),
        ("loss.arguments.power=high", r"must be a number\.$"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(ValueError, match=message):
        with_overrides(Config(), [override])


def test_a_config_of_an_older_version_loads():
    fields = to_dict(Config())
    for old, new in OLD_FIELDS.items():
        (part, name), (_, name_now) = old.split("."), new.split(".")
        fields[part][name] = fields[part].pop(name_now)
    fields["loss"]["box"] = "ciou"
    config = from_dict(fields)
    assert config.loss.box_loss == "ciou"
    assert config == from_dict(to_dict(config))


def test_an_attribute_that_is_no_field_is_named():
    config = Config()
    config.model.widht = 2.0
    with pytest.raises(
        ValueError, match=r"config\.model\.widht: .*Did you mean config\.model\.width"
    ):
        checked(config)
    config = Config()
    config.loss.box = "ciou"
    with pytest.raises(ValueError, match=r"config\.loss\.box is now config\.loss\.box_loss"):
        checked(config)


def test_class_names_may_have_commas():
    config = with_overrides(Config(), ["model.classes=('cat, black', 'dog')"])
    assert checked(config).model.classes == ("cat, black", "dog")


@pytest.mark.parametrize("value", ["cat,dog", "cat", {"cat": "dog"}])
@pytest.mark.parametrize("field", ["keep_classes", "rename", "multiscale"])
def test_a_text_or_dict_is_not_taken_for_a_tuple(field, value):
    config = Config()
    setattr(config.data, field, value)
    with pytest.raises(ValueError, match=rf"config\.data\.{field} is .*: must be .*, as \("):
        checked(config)


def test_without_classes_of_the_model_those_to_keep_are_taken():
    config = with_overrides(Config(), ["data.keep_classes=('b', 'a')"])
    assert checked(config).model.classes == ("b", "a")
    config = with_overrides(config, ["model.classes=('a', 'b')"])
    assert checked(config).model.classes == ("a", "b")


def test_numbers_are_taken_in_any_form():
    config = Config()
    config.optimizer.images, config.model.width = 1e6, np.float32(0.5)
    config.model.anchors, config.data.image_size = np.ones((2, 2)), np.array([64, 96])
    config = checked(config)
    assert config.optimizer.images == 1_000_000
    assert config.model.anchors == ((1.0, 1.0), (1.0, 1.0))
    values = (config.optimizer.images, config.model.width, *config.data.image_size)
    assert [type(value) for value in values] == [int, float, int, int]


@pytest.mark.parametrize("name", [n for n, t in field_types().items() if type(None) in get_args(t)])
def test_none_is_a_value_of_every_optional_field(name):
    config = with_overrides(Config(), [f"{name}=1", f"{name}=None"])
    assert value_of(config, name) is None
    assert checked(config) == config


def test_the_last_of_two_values_of_a_field_wins():
    words = ["model.anchors=((1.0, 1.0),)", "data.image_size=96,96", "model.classes=('a', 'b')"]
    more = ["model.anchors=((2.0, 2.0),)", "data.image_size=128,128", "model.classes=('c',)"]
    assert with_overrides(Config(), words + more) == with_overrides(Config(), more)


def test_overrides_do_not_hide_a_mistyped_attribute():
    config = Config()
    config.model.widht = 2.0
    with pytest.raises(ValueError, match=r"^config\.model\.widht: there is no such field"):
        with_overrides(config, ["seed=1"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], r"config is \[\]: must have fields"),
        ({"model": []}, r"config\.model is \[\]: must have fields"),
        ({"loss": None}, r"config\.loss is None: must have fields"),
        ({"sede": 1}, r"config\.sede: there is no such field. Did you mean config\.seed"),
        ({"data": {"image_size": [64]}}, r"config\.data\.image_size is \[64\]: must be two whole"),
        ({"model": {"width": 10**400}}, r"config\.model\.width is 1000.*\.\.\.: must be a number"),
    ],
)
def test_fields_that_are_no_config_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        from_dict(fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (\n", r"c\.py:1: SyntaxError: '\(' was never closed"),
        ("def get_config():\n    return wdith\n", r"c\.py:2: NameError: name 'wdith' is not def"),
        ("import nowhere_at_all\n", r"c\.py:1: ModuleNotFoundError: No module named"),
        ("def get_config():\n    raise ValueError('no\\ngood')\n", r"c\.py:2: no good$"),
        ("raise SystemExit\n", r"c\.py:1: SystemExit$"),
        ("x = 1\0\n", r"c\.py: SyntaxError: .* null bytes"),
        ("get_config = 3\n", r"c\.py: TypeError: 'int' object is not callable"),
    ],
)
def test_an_error_in_a_config_file_has_its_file_and_line(text, message, tmp_path):
    path = tmp_path / "c.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


def test_an_error_in_a_file_next_to_the_config_has_that_file_s_line(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "base.py").write_text("\n\nzero = 1 / 0\n")
    (folder / "c.py").write_text("from mine import base\n")
    with pytest.raises(ValueError, match=r"base\.py:3: ZeroDivisionError: division by zero"):
        read_config(folder / "c.py")
