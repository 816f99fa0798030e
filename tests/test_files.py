import json
import os
import threading

import pytest

from yolojax.files import (
    append_line,
    check_writable,
    one_line,
    pictures_below,
    safe_name,
    write_text,
)
from yolojax.json_files import to_json


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def names_below(folder):
    return [path.relative_to(folder).as_posix() for path in pictures_below(folder)]


def test_pictures_of_all_subfolders_are_sorted(tmp_path):
    touch(tmp_path, "b/2.PNG", "b/1.jpg", "a/x/3.tif", "c.webp", "notes.txt")
    (tmp_path / "folder.jpg").mkdir()
    touch(tmp_path, "folder.jpg/4.bmp")
    assert names_below(tmp_path) == [
        "a/x/3.tif",
        "b/1.jpg",
        "b/2.PNG",
        "c.webp",
        "folder.jpg/4.bmp",
    ]


def test_hidden_files_and_copies_of_other_systems_are_left_out(tmp_path):
    touch(tmp_path, "a.jpg", "._a.jpg", ".jpg", ".ipynb_checkpoints/a.jpg", "__MACOSX/._a.jpg")
    assert names_below(tmp_path) == ["a.jpg"]
    touch(tmp_path, ".hidden/set/a.jpg")
    assert names_below(tmp_path / ".hidden" / "set") == ["a.jpg"]


def test_linked_folders_and_pictures_are_listed(tmp_path):
    touch(tmp_path, "disk/cat/a.jpg", "disk/b.jpg", "set/c.jpg")
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "disk" / "cat")
    (tmp_path / "set" / "b.jpg").symlink_to(tmp_path / "disk" / "b.jpg")
    (tmp_path / "set" / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "linked").symlink_to(tmp_path / "set")
    expected = ["b.jpg", "broken.jpg", "c.jpg", "cat/a.jpg"]
    assert names_below(tmp_path / "set") == expected
    assert names_below(tmp_path / "linked") == expected


def test_loops_of_links_end(tmp_path):
    touch(tmp_path, "set/real/a.jpg", "outside.jpg")
    for folder in ("set", "set/real"):
        for number in range(12):  # every path without a repeated folder would be too many
            (tmp_path / folder / f"all{number}").symlink_to(tmp_path / "set")
            (tmp_path / folder / f"up{number}").symlink_to(tmp_path)
            (tmp_path / folder / f"a{number}").symlink_to(tmp_path / "set" / "real")
    (tmp_path / "set" / "self.jpg").symlink_to(tmp_path / "set" / "self.jpg")
    assert names_below(tmp_path / "set") == ["real/a.jpg", "self.jpg"]


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "linked.jpg").symlink_to(tmp_path / "pipe.jpg")
    assert pictures_below(tmp_path) == []


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone: cannot be listed \(No such file"):
        pictures_below(tmp_path / "gone")


def test_a_folder_that_cannot_be_listed_is_handed_over(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    errors = []
    assert pictures_below(tmp_path, errors.append) == [tmp_path / "a.jpg"]
    assert [str(e) for e in errors] == [f"{tmp_path}/closed: cannot be listed (Permission denied)."]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("traffic light", "traffic light"),
        ("Größe 2 (новая), 人+x.y-z", "Größe 2 (новая)_ 人+x.y-z"),
        ("road/sign", "road_sign"),
        ("x/../../ESCAPED", "x_.._.._ESCAPED"),
        ("..", "__"),
        (".hidden ", "_hidden_"),
        ("a\\b:c\0d\ne\udc80", "a_b_c_d_e_"),
        ("", "_"),
        ("NUL", "_NUL"),
        ("con.txt", "_con.txt"),
        ("console", "console"),
    ],
)
def test_safe_names(name, safe):
    assert safe_name(name) == safe


def test_long_names_are_cut_to_what_file_systems_take(tmp_path):
    for name in ("a" * 1000, "人" * 1000):
        short = safe_name(name)
        assert 190 < len(short.encode()) <= 200
        assert safe_name(short) == short
        write_text(tmp_path / f"comp4_det_test_{short}.txt", "x")


def test_names_that_collide_get_numbers():
    taken: set[str] = set()
    names = [safe_name(n, taken) for n in ("a/b", "a_b", "A?B", "a_b_2", "c")]
    assert names == ["a_b", "a_b_2", "A_B_3", "a_b_2_2", "c"]


def test_json_has_null_for_what_json_does_not_have():
    value = {"loss": float("nan"), "box": (1.5, -float("inf")), "n": [{"x": float("inf")}, 2, True]}
    assert to_json(value) == '{"loss": null, "box": [1.5, null], "n": [{"x": null}, 2, true]}'


def test_bytes_of_names_that_are_no_text_are_valid_json(tmp_path):
    name = os.fsdecode(b"\xff.jpg")
    write_text(tmp_path / "a.json", to_json([name, "\u4eba"], ascii_only=False))
    assert json.loads((tmp_path / "a.json").read_bytes()) == [name, "\u4eba"]


def test_messages_are_one_line():
    assert one_line("a\nb\x1b[2J\udcff人.jpg") == "a\\nb\\x1b[2J\\udcff人.jpg"


def test_lines_are_appended_after_an_unfinished_one(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    append_line(path, "1")
    assert path.read_text() == "1\n"
    path.write_text("1\n{unfin")
    append_line(path, "2")
    assert path.read_text() == "1\n{unfin\n2\n"


def test_a_pipe_is_written_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    texts = []
    reader = threading.Thread(target=lambda: texts.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join(5)
    assert texts == ["through"]
    assert pipe.is_fifo()


def test_the_longest_name_of_a_file_can_be_written(tmp_path):
    path = tmp_path / ("a" * 251 + ".txt")
    write_text(path, "x")
    assert path.read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 1


def test_where_files_can_be_written(tmp_path, monkeypatch):
    touch(tmp_path, "file", "folder/x")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "deep" / "file")
    check_writable("/dev/null")
    check_writable(tmp_path / "folder", folder=True)
    check_writable(tmp_path / "new" / "folder", folder=True)
    assert not (tmp_path / "new").exists()
    for path, folder, problem in (
        ("folder", False, "folder is a folder"),
        ("file", True, "file is not a folder"),
        ("file/x/y", False, "file is not a folder"),
        ("n" * 256, False, "more than 255 bytes"),
    ):
        with pytest.raises(ValueError, match=f"cannot be written: .*{problem}"):
            check_writable(tmp_path / path, folder=folder)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ValueError, match="is write-protected"):
        check_writable(tmp_path / "file")
    with pytest.raises(ValueError, match="is write-protected"):
        check_writable(tmp_path / "new")


@pytest.mark.parametrize("write", [write_text, append_line])
def test_a_full_disk_names_the_file(write):
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write("/dev/full", "text")


def test_a_file_that_cannot_be_made_is_named_and_not_the_temporary_one():
    with pytest.raises(OSError, match=r"'/proc/x.csv'"):
        write_text("/proc/x.csv", "text")
