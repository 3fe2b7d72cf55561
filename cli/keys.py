"""`tintype keys`: the keys of clients, with their rates and rights.

Running servers notice changes by themselves.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tintype.v1 import keyfile
from tintype.v1.keys import KEYS, mark, remember

from .errors import UserError
from .servers.serve import warn
from .settings.sources import Sources
from .settings.values import KINDS
from .text import columns

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

HEADINGS = ("NAME", "CREATED", "REQUESTS", "IMAGES", "PRIORITY", "ADMIN", "MODELS")


def run(arguments: Namespace) -> int:
    """Create, list or revoke keys."""
    warn()
    sources = Sources.gather(vars(arguments))
    path = _file(sources)
    if arguments.action == "list" and arguments.name:
        raise UserError(f"list takes no name; did you mean `tintype keys create {arguments.name}`?")
    if arguments.action != "list" and not arguments.name:
        raise UserError(f"{arguments.action} needs the name of a key: tintype keys {arguments.action} NAME")
    ACTIONS[arguments.action](path, arguments)
    if path.exists() and not sources.value("gateway", "keys"):
        remember(path)
    return 0


def _file(sources: Sources) -> Path:
    """The file of keys: the one that --keys names, else the one in the data folder."""
    named = sources.value("gateway", "keys")
    return Path(named or sources.value("gateway", "data") / KEYS)


def _create(path: Path, arguments: Namespace) -> None:
    """Print the new key, alone, so that a script can take it; what there is to know of it goes to stderr."""
    first = not path.exists()
    secret = keyfile.create(
        path,
        arguments.name,
        requests=_number(arguments.requests, "--requests"),
        images=_number(arguments.images, "--images"),
        models=tuple(name for names in arguments.allowed or () for name in names.split(",") if name),
        priority=_number(arguments.priority, "--priority") or 0,
        admin=arguments.admin,
    )
    print(secret, flush=True)
    sys.stderr.write(f"This is the key of {arguments.name}. It can't be shown again: {path} has only its hash.\n")
    if first:
        sys.stderr.write("It is the first one: from now on gateway and service require a key.\n")


def _list(path: Path, _: Namespace) -> None:
    if not path.exists():
        sys.stderr.write(f"There are no keys: {path} is not there; `tintype keys create NAME` makes it.\n")
        return
    print(columns([HEADINGS, *map(_row, keyfile.read(path))]))


def _revoke(path: Path, arguments: Namespace) -> None:
    keyfile.revoke(path, arguments.name)
    print(f"The key of {arguments.name} is revoked.")
    if not keyfile.read(path):
        print("It was the last one: every request is refused now. `tintype keys create NAME` makes another; to allow")
        print(f"requests without a key, delete {path} and {mark(path)}, and restart.")


ACTIONS: dict[str, Callable[[Path, Namespace], None]] = {"create": _create, "list": _list, "revoke": _revoke}


def _row(key: keyfile.Key) -> tuple[str, ...]:
    rates = [_rate(key.requests), _rate(key.images)]
    may = "yes" if key.admin else "no"
    return (key.name, key.created or "-", *rates, str(key.priority), may, ", ".join(key.models) or "all")


def _rate(per_minute: int | None) -> str:
    """A rate as people read it; without one of its own, a key has the gateway's."""
    return "default" if per_minute is None else f"{per_minute}/min" if per_minute else "any"


def _number(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    try:
        return int(KINDS["int"].from_text(text))
    except ValueError:
        raise UserError(f"{flag} wants {KINDS['int'].wants}, not {text!r}") from None
