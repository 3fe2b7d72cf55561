"""The gRPC service: engine, numerics, models and images, free of torch.

The names in `__all__` are the public API (docs/python-api.md); all other names may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import ServiceConfig
    from .errors import TintypeError
    from .launch import run, running, serve
    from .rpc.listen import ServeError

__all__ = ["ServeError", "ServiceConfig", "TintypeError", "run", "running", "serve"]

_MODULES = {
    "ServeError": ".rpc.listen",
    "ServiceConfig": ".config",
    "TintypeError": ".errors",
    "run": ".launch",
    "running": ".launch",
    "serve": ".launch",
}

if not TYPE_CHECKING:  # or type checkers would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name at its first use: importing the package alone loads no server."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name], __name__), name)
