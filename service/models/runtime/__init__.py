"""Graphs on devices: sessions of onnxruntime, OpenVINO and TensorRT, execution providers and their options."""
