"""Execution providers in libraries of their own, which register themselves by onnxruntime's plugin interface."""
