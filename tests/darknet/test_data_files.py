import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolojax.darknet.data_files import file_next_to, read_data, read_names
from yolojax.data.parsing import read_names as read_unique_names
from yolojax.data.sources.load import load_source


def test_names(tmp_path):
    path = tmp_path / "my.names"
    path.write_bytes("\ufeffcat\r\n  hot dog \r\nkäse\r\n\r\n \n".encode())
    assert read_names(path) == ("cat", "hot dog", "käse")
    path.write_bytes("cat\r\nkäse\r\n".encode("utf-16"))
    assert read_names(path) == ("cat", "käse")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no names"),
        (b" \n\n", "no names"),
        (b"cat\n\ndog\n", "my.names:2: an empty line"),
        (b"\ncat\n", "my.names:1: an empty line"),
        (b"cat\nk\xe4se\n", "my.names:2: must be a .names file in UTF-8"),
        (b"cat\0dog", "this is a binary file"),
        (b"cat\n" * 250_001, "longer than 1,000,000 bytes"),
    ],
)
def test_bad_names_are_refused(tmp_path, data, message):
    (tmp_path / "my.names").write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_names(tmp_path / "my.names")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_names(tmp_path / "other.names")


def test_data(tmp_path):
    path = tmp_path / "my.data"
    text = "classes= 20\n# a comment\ntrain  = my list.txt\nnames=my.names\nbackup =\n"
    path.write_text(text)
    assert read_data(path) == {"classes": "20", "train": "my list.txt", "names": "my.names"}
    path.write_bytes(text.encode("utf-16"))
    assert read_data(path) == {"classes": "20", "train": "my list.txt", "names": "my.names"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no values"),
        ("a=1\nb", "my.data:2: must be `key = value`, got 'b'"),
        ("=1", "my.data:1: must be"),
        ("names =\n", "no values"),
        ("names = a\x01b\n", r"my.data:1: has the control character '\\x01'"),
        ("a=1\na = 1\na=2", "my.data:3: a has another value already"),
    ],
)
def test_bad_data_is_refused(tmp_path, text, message):
    (tmp_path / "my.data").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_data(tmp_path / "my.data")


def test_labels_need_unique_names(tmp_path):
    (tmp_path / "my.names").write_text("crane\ndog\ncrane\n")
    assert read_names(tmp_path / "my.names") == ("crane", "dog", "crane")
    message = r"must be unique, repeated: \['crane'\]"
    with pytest.raises(ValueError, match=message):
        read_unique_names(tmp_path / "my.names")
    with pytest.raises(ValueError, match=message):
        load_source("shapes:val", classes=("crane", "dog", "crane"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(alphabet="ab =#\n\r[]é", max_size=40).map(str.encode))
@pytest.mark.parametrize("read", [read_names, read_data])
def test_any_bytes_give_values_or_a_value_error(tmp_path, read, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    try:
        values = read(path)
    except ValueError as error:
        message = str(error)
    else:
        message = str(path)
        assert len(values) > 0
    assert message.startswith(str(path))


@pytest.mark.parametrize("saved", ["my", "my_final", "my_last", "my_best", "my_1000"])
def test_the_cfg_beside_weights_is_found(tmp_path, saved):
    weights = tmp_path / f"{saved}.weights"
    assert file_next_to(weights, ".cfg") is None
    (tmp_path / "my.cfg").write_text("")
    assert file_next_to(weights, ".cfg") == tmp_path / "my.cfg"
    assert file_next_to(tmp_path / "my2.weights", ".cfg") is None
    assert file_next_to(tmp_path / "my_448.weights", ".cfg") is None
    (tmp_path / f"{saved}.cfg").write_text("")
    assert file_next_to(weights, ".cfg") == tmp_path / f"{saved}.cfg"
