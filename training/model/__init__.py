"""The networks of the built-in model, their ONNX graphs, and the model folder that the service loads."""
