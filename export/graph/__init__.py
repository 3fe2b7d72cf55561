"""From a component to an ONNX file: trace, add optional inputs, store weights, and run the result."""
