import io
import subprocess
import sys
from unittest.mock import Mock

import pytest

from yolojax.cli import main as cli


def test_help_lists_every_command_and_loads_no_library(capsys):
    code = (
        "import sys; from yolojax.cli.main import main; main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('jax', 'numpy', 'cv2', 'matplotlib')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    for command in cli.COMMANDS:
        assert command in done.stdout


def test_nothing_is_misuse(capsys):
    assert cli.main([]) == 2
    assert "usage: yolojax COMMAND" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("yolojax 0.")


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("predct", "Did you mean 'predict'?"),
        ("val", "Did you mean 'eval'?"),
        ("evl", "Did you mean 'eval'?"),
        ("zzz", "known: "),
    ],
)
def test_an_unknown_command_gets_a_suggestion(capsys, command, hint):
    assert cli.main([command]) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", sorted(set(cli.COMMANDS) - {"tree"}))
def test_the_help_of_a_command_shows_examples(capsys, command):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"examples:\n  yolojax {command}" in capsys.readouterr().out


def test_an_error_of_the_library_is_one_line(capsys):
    assert cli.main(["anchors", "nothing:here"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("yolojax anchors: SOURCE must be one of")
    assert error.count("\n") == 1


def test_options_are_not_abbreviated(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["anchors", "shapes:val", "--rest", "1"])
    assert stop.value.code == 2


def test_the_module_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "yolojax", "anchor"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Did you mean 'anchors'?" in done.stderr


def test_names_of_files_that_are_not_utf8_are_printed(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "argv", ["yolojax", "--version"])
    monkeypatch.setattr(cli, "gc", Mock())
    assert cli.main() == 0
    print("a\udcb0.jpg", file=stdout, flush=True)
    assert b"a\\udcb0.jpg" in stdout.buffer.getvalue()


def test_overrides_are_for_commands_with_a_config(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["anchors", "shapes:val", "--config.seed=1"])
    assert stop.value.code == 2
    assert "has no config, got --config.seed=1" in capsys.readouterr().err


def test_configs_are_listed_and_printed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["configs"]) == 0
    text = capsys.readouterr().out
    assert "\nquickstart             Quickstart: " in f"\n{text}"
    assert "\nbox_terms " in text
    assert cli.main(["configs", "bccd"]) == 0
    assert "def get_config" in capsys.readouterr().out


def test_the_name_of_a_result_stays_in_the_folder_of_the_run(capsys):
    assert cli.main(["eval", "--workdir", "run", "--name", "../x"]) == 2
    assert "--name must be a file name, got '../x'; try '___x'." in capsys.readouterr().err
