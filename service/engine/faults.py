"""What a failed call means to the request."""

from __future__ import annotations

from ..errors import GenerationFailed, OutOfMemory, TintypeError

# How onnxruntime and its providers say that memory is short; they have no type for it.
OUT_OF_MEMORY = ("failed to allocate memory", "bad_alloc", "bad allocation", "out of memory", "alloc_failed")


def as_error(error: Exception) -> TintypeError:
    """Return the error of the tree that `error` is to the request whose work it ended."""
    if isinstance(error, TintypeError):
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(words in text.lower() for words in OUT_OF_MEMORY):
        return OutOfMemory("the device has not enough memory for this request: try a smaller size or fewer pictures")
    return GenerationFailed(f"the model's call failed: {text}")
