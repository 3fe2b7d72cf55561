"""The JSON of each vendor, one module a vendor, and the table of them."""

from __future__ import annotations

from . import agent_ai, apipie, aqueduct, openai, oxen
from .dialect import Call, Dialect, Events, Failure
from .openai_edits import edits, variations

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

# Vendors with OpenAI's paths, and their dialects by action and vendor. Their defaults contradict each other, so that
# each shared path has one dialect.
_SHARING = (openai.DIALECT, apipie.DIALECT, aqueduct.DIALECT)
_ACTIONS = [{one.name: make(one) for one in _SHARING} for make in (lambda dialect: dialect, edits, variations)]
SHARED = frozenset(path for action in _ACTIONS for path in action["openai"].paths)
_EVERYTHING = (*DIALECTS.values(), *(one for action in _ACTIONS[1:] for one in action.values()), oxen.EDIT_DIALECT)


def dialects_by_path(shared: str) -> dict[str, Dialect]:
    """Return the dialect of every path: the paths that each vendor documents, and the same paths below `/NAME`.

    `shared` names the dialect of the shared paths.
    """
    prefixed = {f"/{dialect.name}{path}": dialect for dialect in _EVERYTHING for path in dialect.paths}
    own = {path: dialect for dialect in _EVERYTHING for path in dialect.paths if path not in SHARED}
    common = {path: action[shared] for action in _ACTIONS for path in action["openai"].paths}
    return common | own | prefixed


__all__ = ["DIALECTS", "SHARED", "Call", "Dialect", "Events", "Failure", "dialects_by_path"]
