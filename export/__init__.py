"""Export diffusers models to ONNX; apart from training, the only code that imports torch."""

import os

from .command import main

os.environ.setdefault(
    "ORT_DISABLE_TELEMETRY", "1"
)  # before onnxruntime is imported: service/models/runtime/providers.py

__all__ = ["main"]
