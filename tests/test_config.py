import pytest

from yolojax.config import OLD_FIELDS, Config, from_dict, read_config, to_dict

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
    with pytest.raises(FileNotFoundError, match="a config is a file such as"):
        read_config(tmp_path / "other.py")


def test_a_config_of_an_older_version_loads():
    fields = to_dict(Config())
    for old, new in OLD_FIELDS.items():
        (part, name), (_, name_now) = old.split("."), new.split(".")
        fields[part][name] = fields[part].pop(name_now)
    fields["loss"]["box"] = "ciou"
    config = from_dict(fields)
    assert config.loss.box_loss == "ciou"
    assert config == from_dict(to_dict(config))
