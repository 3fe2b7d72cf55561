"""The JSON of each vendor, one module a vendor, and the table of them."""

from __future__ import annotations

from . import agent_ai, apipie, aqueduct, openai, oxen
from .dialect import Call, Dialect, Events, Failure
from .openai_edits import edit_dialect, variation_dialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        openai.DIALECT,
        apipie.DIALECT,
        aqueduct.DIALECT,
        agent_ai.DIALECT,
        oxen.DIALECT,
    )
}

# Vendors that document OpenAI's paths. Their defaults contradict each other, so each of these paths has one dialect.
_SHARING = (openai.DIALECT, apipie.DIALECT, aqueduct.DIALECT)
# Their dialects by vendor, for each action.
_GENERATIONS = {dialect.name: dialect for dialect in _SHARING}
_EDITS = {dialect.name: edit_dialect(dialect) for dialect in _SHARING}
_VARIATIONS = {dialect.name: variation_dialect(dialect) for dialect in _SHARING}
_ACTIONS = (_GENERATIONS, _EDITS, _VARIATIONS)

SHARED_PATHS = frozenset(path for action in _ACTIONS for path in action["openai"].paths)
_ALL_DIALECTS = (*DIALECTS.values(), *_EDITS.values(), *_VARIATIONS.values(), oxen.EDIT_DIALECT)


def dialects_by_path(vendor: str) -> dict[str, Dialect]:
    """Return the dialect of every path: the paths that each vendor documents, and the same paths below `/NAME`.

    `vendor` is the name of the vendor whose dialect the shared paths have.
    """
    shared = {path: action[vendor] for action in _ACTIONS for path in action["openai"].paths}
    own = {path: dialect for dialect in _ALL_DIALECTS for path in dialect.paths if path not in SHARED_PATHS}
    prefixed = {f"/{dialect.name}{path}": dialect for dialect in _ALL_DIALECTS for path in dialect.paths}
    return shared | own | prefixed


__all__ = ["DIALECTS", "SHARED_PATHS", "Call", "Dialect", "Events", "Failure", "dialects_by_path"]
