"""What a program pays for by importing us; in fresh processes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RARE = ("matplotlib", "tensorflow", "tensorflow_datasets", "tensorboardX", "onnx", "pycocotools")
FREE = (*RARE, "jax", "numpy", "flax", "optax", "orbax", "grain", "cv2", "PIL")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [("import yolojax", FREE), ("import yolojax.predict", RARE)],
)
def test_what_is_not_needed_is_not_imported(statement, absent):
    code = f"{statement}; import sys; print(*(set({absent!r}) & sys.modules.keys()))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not found.stdout.split()
