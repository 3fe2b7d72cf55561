"""One file for each vendor's JSON, and the table of them."""

from __future__ import annotations

from . import agent_ai, apipie, aqueduct, openai, oxen
from .dialect import Call, Dialect, Events, Failure

_ALL = (openai.DIALECT, apipie.DIALECT, aqueduct.DIALECT, agent_ai.DIALECT, oxen.DIALECT)
DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}

# Paths that several vendors document, with defaults that contradict each other: one dialect has them.
SHARED = frozenset(openai.PATHS)


def bound(shared: str) -> dict[str, Dialect]:
    """Return the dialect of every path: those that it documents, and the same below `/NAME`.

    `shared` names the dialect that has the shared paths.
    """
    prefixed = {f"/{name}{path}": dialect for name, dialect in DIALECTS.items() for path in dialect.paths}
    own = {path: dialect for dialect in _ALL for path in dialect.paths if path not in SHARED}
    return dict.fromkeys(openai.PATHS, DIALECTS[shared]) | own | prefixed


__all__ = ["DIALECTS", "SHARED", "Call", "Dialect", "Events", "Failure", "bound"]
