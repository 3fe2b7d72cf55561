"""The Stable Diffusion web UI's API at `/sdapi/v1`, for the many clients that speak it (docs/sdapi.md)."""

from __future__ import annotations

from .description import DESCRIBED, Described
from .errors import error
from .routes import BASE, routes

__all__ = ["BASE", "DESCRIBED", "Described", "error", "routes"]
