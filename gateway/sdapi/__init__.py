"""The API of the Stable Diffusion web UI at `/sdapi/v1`, and its ControlNet extension (docs/sdapi.md)."""

from __future__ import annotations

from .controlnet.routes import BASE as CONTROLNET_BASE
from .errors import error
from .routes import BASE, routes

PREFIXES = (f"{BASE}/", f"{CONTROLNET_BASE}/")

__all__ = ["BASE", "PREFIXES", "error", "routes"]
