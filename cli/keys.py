"""`tintype keys`: the keys of clients, with their limits and rights.

Running servers notice changes without a restart.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tintype.gateway.config import GatewayConfig
from tintype.v1 import keyfile
from tintype.v1.keys import KEYS, marker, write_marker

from .errors import UserError
from .settings.sources import Sources, warn_of_unknown_variables
from .settings.values import INTEGER
from .terminal import format_table

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from pathlib import Path

HEADINGS = ("NAME", "CREATED", "REQUESTS", "IMAGES", "PRIORITY", "ADMIN", "MODELS")


def run(arguments: Namespace) -> int:
    """Create, list or revoke keys."""
    warn_of_unknown_variables()
    sources = Sources.gather(vars(arguments))
    named = sources.partial(GatewayConfig, "keys").keys
    path = named or sources.partial(GatewayConfig, "data").data / KEYS
    if arguments.action == "list" and arguments.name:
        raise UserError(f"list takes no name; did you mean `tintype keys create {arguments.name}`?")
    if arguments.action != "list" and not arguments.name:
        raise UserError(f"{arguments.action} needs the name of a key: tintype keys {arguments.action} NAME")
    ACTIONS[arguments.action](path, arguments)
    if path.exists() and not named:
        write_marker(path)
    return 0


def _create(path: Path, arguments: Namespace) -> None:
    """Print the new key to stdout, so that a script can read it, and notes to stderr."""
    first = not path.exists()
    secret = keyfile.create(
        path,
        arguments.name,
        requests=_parse_integer(arguments.requests, "--requests"),
        images=_parse_integer(arguments.images, "--images"),
        models=tuple(name for names in arguments.allowed or () for name in names.split(",") if name),
        priority=_parse_integer(arguments.priority, "--priority") or 0,
        admin=arguments.admin,
    )
    print(secret, flush=True)
    sys.stderr.write(f"This is the key of {arguments.name}. It can't be shown again: {path} has only its hash.\n")
    if first:
        sys.stderr.write("It is the first one: from now on gateway and service require a key.\n")


def _list(path: Path, _: Namespace) -> None:
    if not path.exists():
        sys.stderr.write(f"There are no keys: {path} does not exist; `tintype keys create NAME` creates it.\n")
        return
    print(format_table([HEADINGS, *map(_format_row, keyfile.read(path))]))


def _revoke(path: Path, arguments: Namespace) -> None:
    keyfile.revoke(path, arguments.name)
    print(f"The key of {arguments.name} is revoked.")
    if not keyfile.read(path):
        print("It was the last one: every request is refused now. `tintype keys create NAME` makes another; to allow")
        print(f"requests without a key, delete {path} and {marker(path)}, and restart.")


ACTIONS: dict[str, Callable[[Path, Namespace], None]] = {"create": _create, "list": _list, "revoke": _revoke}


def _format_row(key: keyfile.Key) -> tuple[str, ...]:
    limits = [_format_limit(key.requests), _format_limit(key.images)]
    admin = "yes" if key.admin else "no"
    return (key.name, key.created or "-", *limits, str(key.priority), admin, ", ".join(key.models) or "all")


def _format_limit(per_minute: int | None) -> str:
    """Return a key's own limit as text; without one, the gateway's limit applies."""
    return "default" if per_minute is None else f"{per_minute}/min" if per_minute else "unlimited"


def _parse_integer(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    try:
        return INTEGER.from_text(text)
    except ValueError:
        raise UserError(f"{flag} must be {INTEGER.expected}; got {text!r}") from None
