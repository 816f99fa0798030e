import os

import pytest

from yolojax.files import pictures_below


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
