"""What a failed call means to the request."""

from __future__ import annotations

from ..errors import GenerationFailed, OutOfMemory, TintypeError


def as_error(error: Exception) -> TintypeError:
    """Return the error of the tree that `error` is to the request whose work it ended."""
    if isinstance(error, TintypeError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("there is not enough memory for this request: try a smaller size or fewer pictures")
    return GenerationFailed(f"the model's call failed: {type(error).__name__}: {error}")
