"""The packages of a wheel: yolojax, with the files of configs/ as yolojax.configs."""

from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

root = Path(__file__).parent
configs = ["yolojax.configs"]
configs += [f"yolojax.configs.{name}" for name in find_namespace_packages(str(root / "configs"))]
setup(
    packages=[*find_packages(str(root), include=["yolojax*"]), *configs],
    package_dir={"yolojax.configs": "configs"},
)
