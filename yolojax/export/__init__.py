"""Models written in other forms: ONNX, StableHLO and safetensors, and their comparison."""
