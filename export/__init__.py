"""The only torch in the house: exporting models to ONNX, and the making of the built-in one."""

import os

from .command import main

os.environ.setdefault(
    "ORT_DISABLE_TELEMETRY", "1"
)  # before onnxruntime is imported: service/models/runtime/providers.py

__all__ = ["main"]
