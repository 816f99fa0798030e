"""List the configs that come with yolojax, or print one as a start for your own.

examples:
  yolojax configs
  yolojax configs bccd > my.py
"""

import argparse
import ast
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax configs`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this config")


def run(args) -> int:
    """Print the list, or one config."""
    from yolojax.config import CONFIGS, config_file

    if args.name:
        print(config_file(args.name).read_text(encoding="utf-8"), end="")
        return 0
    for path in sorted(CONFIGS.glob("*.py")):
        print(f"{path.stem:<22} {first_line(path)}")
    print("\nOverlays for `yolojax ablate`:")
    for folder in sorted({path.parent for path in CONFIGS.glob("*/*.py")}):
        rows = ", ".join(first_line(path) for path in sorted(folder.glob("*.py")))
        print(f"{folder.name:<22} {rows}")
    return 0


def first_line(path: Path) -> str:
    """Return the first line of the docstring of the Python file `path`."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].strip()
