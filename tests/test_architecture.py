"""Who may import whom: the table of docs/architecture.md, held."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "yolojax"
EVERYWHERE = {"files", "naming", "progress", "distributed"}  # they import nothing of ours
ROOMS = {  # room -> the rooms it may import, besides itself and those; "*" is all of them
    "config": set(),
    "files": set(),
    "naming": set(),
    "progress": set(),
    "peers": set(),
    "xla": set(),
    "distributed": {"peers"},
    "sharding": set(),
    "chips": set(),
    "ops": set(),
    "models": {"ops"},
    "heads": {"ops"},
    "losses": {"ops", "heads"},
    "data": {"ops", "config"},
    "visual": {"ops"},
    "user_loss": set(),
    "tasks": {"config", "models", "heads", "losses", "user_loss"},
    "evaluation": {"ops", "heads", "config", "sharding", "tasks", "data", "visual"},
    "training": {"ops", "losses", "config", "sharding", "tasks", "data", "visual"}
    | {"chips", "peers", "xla"},
    "convert": {"config", "ops", "models", "heads", "data", "tasks", "evaluation"},
    "loading": {"config", "models", "data", "tasks", "convert", "training"},
    "saving": {"sharding", "convert", "training", "loading"},
    "saved_config": {"config", "loading"},
    "initial": {"config", "tasks", "convert", "training", "loading"},
    "predict": {"config", "tasks", "loading", "data", "evaluation", "visual"},
    "explain": {"ops", "heads", "losses", "config", "sharding", "tasks", "data", "visual"}
    | {"evaluation", "training", "loading"},
    "bench": {"config", "sharding", "tasks", "data", "evaluation", "training"},
    "ablation": {"config", "data", "evaluation", "models", "tasks", "training", "visual"},
    "wordtree": {"data"},
    "aot": {"config", "chips", "sharding", "data", "tasks", "evaluation", "training", "xla"},
    "cli": {"*"},
    "__main__": {"cli"},
    "__init__": {"predict"},
}
DOORS = {
    "data/doors.py",
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


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    room = room_of(path)
    allowed = ROOMS[room] | {room} | EVERYWHERE
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "yolojax" and len(parts) > 1 and "*" not in allowed:
            assert parts[1] in allowed, f"{room} must not import {name}"


def test_only_models_know_flax():
    knowing = {room_of(p) for p in FILES if any(n.split(".")[0] == "flax" for n in imports(p))}
    assert knowing == {"models"}


def test_the_config_stops_at_the_door():
    knowing = {
        str(p.relative_to(PACKAGE))
        for p in FILES
        if room_of(p) == "data" and any(n.startswith("yolojax.config") for n in imports(p))
    }
    assert knowing == DOORS
