"""Export diffusers models to ONNX; apart from training, the only code that imports torch."""

import os

from .command import main

# Before onnxruntime is imported; service/models/runtime/providers.py has the reason.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["main"]
