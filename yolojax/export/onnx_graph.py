"""An ONNX graph under construction, and its model. Only this module imports onnx."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np

OPSET = 17  # of 2022; it has all that is needed, and runtimes of the last years support it
IR_VERSION = 8  # of the file format of that time


class Graph:
    """Nodes and constants, in the order in which they are added.

    Values are referred to by name. A NumPy array in place of a name becomes a constant.
    """

    def __init__(self):
        """Raises ValueError: onnx is not installed."""
        self._onnx = _import_onnx()
        self._model = self._onnx.ModelProto(
            ir_version=IR_VERSION,
            producer_name="yolojax",
            producer_version=version("yolojax"),
            opset_import=[self._onnx.helper.make_opsetid("", OPSET)],
        )
        self._graph = self._model.graph
        self._graph.name = "yolojax"

    def node(self, op: str, *inputs: str | np.ndarray, output: str = "", **attributes) -> str:
        """Add the operator `op`; return the name of its output, `output` if given."""
        return self.nodes(op, *inputs, outputs=(output or self._fresh(op),), **attributes)[0]

    def nodes(
        self, op: str, *inputs: str | np.ndarray, outputs: Sequence[str], **attributes
    ) -> Sequence[str]:
        """As `node`, for operators with several outputs."""
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        node = self._onnx.helper.make_node(op, names, outputs, name=outputs[0], **attributes)
        self._graph.node.append(node)
        return outputs

    def constant(self, values: np.ndarray, name: str = "") -> str:
        """Add a constant; return its name."""
        # Filled in place: onnx.helper would hold several copies, of up to 2 GB each.
        tensor = self._graph.initializer.add()
        tensor.name = name or f"constant_{len(self._graph.initializer)}"
        tensor.data_type = self._onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor.dims.extend(values.shape)
        tensor.raw_data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        return tensor.name

    def add_input(self, name: str, shape: Sequence[int | str]) -> None:
        """Declare a float32 input; a name in `shape` is a dimension of any size."""
        self._graph.input.append(self._value(name, np.float32, shape))

    def add_output(self, name: str, shape: Sequence[int | str], dtype=np.float32) -> None:
        """Declare the value `name` an output."""
        self._graph.output.append(self._value(name, dtype, shape))

    def to_bytes(self, metadata: Mapping[str, str]) -> bytes:
        """Return the contents of an .onnx file with these metadata_props."""
        self._onnx.helper.set_model_props(self._model, dict(metadata))
        return self._model.SerializeToString()

    def _fresh(self, op: str) -> str:
        return f"{op.lower()}_{len(self._graph.node)}"

    def _value(self, name, dtype, shape):
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, shape)


def ints(*values: int) -> np.ndarray:
    """Return int64 values, as operators take shapes, axes and counts."""
    return np.array(values, np.int64)


def _import_onnx():
    try:
        import onnx
    except ImportError as error:
        raise ValueError(
            "writing .onnx needs the package onnx: pip install -e '.[export]'."
        ) from error
    return onnx
