"""The only torch in the house: exporting models to ONNX, and the making of the built-in one."""

from .command import main

__all__ = ["main"]
