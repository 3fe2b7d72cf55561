"""The REST gateway: translates vendors' JSON to gRPC and back, without torch or model code.

The names in `__all__` are the public API (docs/python-api.md); all other names may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import GatewayConfig
    from .errors import StartError
    from .server import run, serve

__all__ = ["GatewayConfig", "StartError", "run", "serve"]

_MODULES = {
    "GatewayConfig": ".config",
    "StartError": ".errors",
    "run": ".server",
    "serve": ".server",
}

if not TYPE_CHECKING:  # or type checkers would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name at its first use: importing the package alone loads no server."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name], __name__), name)
