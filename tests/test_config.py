import sys

import pytest

from yolojax.config import (
    CONFIGS,
    OLD_FIELDS,
    Config,
    checked,
    config_file,
    field_names,
    from_dict,
    read_config,
    to_dict,
    with_overrides,
)

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
    assert {"seed", "model.width", "data.augment.jitter"} <= set(field_names())
    assert "model" not in field_names()


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
        ("model.width=wide", r"--config\.model\.width=wide: config"),
        ("loss.rescore=no", "config"),
        ("seed=1.5", "config"),
        ("model.classes=cat", "must hold several values"),
        ("model.classes=cat,dog", "must hold several values"),
        ("data.keep_classes=person", "must hold several values"),
        ("data.rename=car", "must hold several values"),
        ("data.rename=('car', 'bus')", "must be a tuple of pairs"),
        ("data.rename.car", "give the value after ="),
        ("loss.arguments.power=high", "config"),
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
    with pytest.raises(ValueError, match=rf"data\.{field} must be a tuple.*, got "):
        checked(config)


def test_without_classes_of_the_model_those_to_keep_are_taken():
    config = with_overrides(Config(), ["data.keep_classes=('b', 'a')"])
    assert checked(config).model.classes == ("b", "a")
    config = with_overrides(config, ["model.classes=('a', 'b')"])
    assert checked(config).model.classes == ("a", "b")
