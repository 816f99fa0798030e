"""Who may import whom: the table of docs/architecture.md, held."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "yolojax"
EVERYWHERE = {"files", "json_files", "suggestions", "progress", "text_table"}
MAY_IMPORT = {  # package -> the packages it may import besides itself and those; "*" is all
    "config": {"config_ranges", "config_values"},
    "config_ranges": set(),
    "config_values": set(),
    "files": set(),
    "json_files": set(),
    "suggestions": set(),
    "progress": set(),
    "text_table": set(),
    "distributed": set(),
    "ops": set(),
    "wordtree": {"ops"},
    "models": {"ops"},
    "heads": {"ops", "wordtree"},
    "losses": {"ops", "wordtree", "heads"},
    "darknet": {"config", "ops", "wordtree", "models", "data", "tasks"},
    "data": {"ops", "config", "wordtree", "darknet"},
    "visual": {"ops"},
    "tasks": {"config", "models", "heads", "losses", "darknet"},
    "evaluation": {"ops", "wordtree", "heads", "config", "distributed", "tasks", "data", "visual"},
    "training": {"ops", "losses", "config", "distributed", "tasks", "data", "visual"},
    "export": {"config", "ops", "models", "heads", "data", "tasks", "evaluation"},
    "loading": {"config", "models", "data", "tasks", "darknet", "export", "training"},
    "saving": {"distributed", "darknet", "export", "training", "loading"},
    "pretrained": {"config", "tasks", "darknet", "export", "training", "loading"},
    "predict": {"config", "wordtree", "tasks", "loading", "data", "evaluation", "visual"},
    "explain": {"ops", "wordtree", "heads", "losses", "config", "distributed", "tasks", "data"}
    | {"visual", "evaluation", "training", "loading"},
    "bench": {"config", "distributed", "tasks", "data", "evaluation", "training"},
    "ablation": {"config", "data", "evaluation", "models", "tasks", "training"} | {"visual"},
    "aot": {"config", "distributed", "data", "tasks", "evaluation", "training"},
    "train": {"config", "ops", "distributed", "data", "tasks", "pretrained", "evaluation"}
    | {"training", "explain", "visual"},
    "cli": {"*"},
    "__main__": {"cli"},
    "__init__": {"predict"},
}
CONFIG_READERS = {
    "data/from_config.py",
    "data/pipeline.py",
    "data/classification.py",
}  # where the config enters data/


def imports(path):
    """Dotted names that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    package = package_of(path)
    allowed = MAY_IMPORT[package] | {package} | EVERYWHERE
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "yolojax" and len(parts) > 1 and "*" not in allowed:
            assert parts[1] in allowed, f"{package} must not import {name}"


def test_only_models_know_flax():
    knowing = {package_of(p) for p in FILES if any(n.split(".")[0] == "flax" for n in imports(p))}
    assert knowing == {"models"}


def test_only_these_modules_of_data_read_the_config():
    knowing = {
        str(p.relative_to(PACKAGE))
        for p in FILES
        if package_of(p) == "data" and any(n.startswith("yolojax.config") for n in imports(p))
    }
    assert knowing == CONFIG_READERS


def test_json_is_written_by_one_function():
    """json.dumps writes NaN by default, which is no JSON; json_files.to_json does not."""
    writers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"json\.dumps?\b", path.read_text())
    }
    assert writers == {"json_files.py"}
