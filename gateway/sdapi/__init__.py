"""The API of the Stable Diffusion web UI at `/sdapi/v1` (docs/sdapi.md)."""

from __future__ import annotations

from .errors import error
from .routes import BASE, routes

__all__ = ["BASE", "error", "routes"]
