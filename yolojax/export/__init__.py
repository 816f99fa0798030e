"""Export to ONNX, StableHLO and safetensors, and comparison of the outputs."""
