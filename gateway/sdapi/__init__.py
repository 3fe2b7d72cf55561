"""The Stable Diffusion web UI's API at `/sdapi/v1`, for the many clients that speak it (docs/sdapi.md)."""

from __future__ import annotations

from .errors import error
from .routes import BASE, routes

__all__ = ["BASE", "error", "routes"]
