"""Flags of the commands about keys, and types of flags that other commands share."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

from .settings.definitions import SECTIONS, settings_of
from .settings.flags import add_config, add_setting
from .settings.values import parse_text

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

GATEWAY = settings_of(SECTIONS["gateway"])


def parse_utf8(text: str) -> str:
    """Return a text that protobuf and files can hold, in UTF-8. Raises ArgumentTypeError."""
    try:
        return parse_text(text)
    except ValueError as error:
        raise ArgumentTypeError(f"must be text in UTF-8; got {text!r}") from error


def add_keys(parser: ArgumentParser) -> None:
    """Add the flags of `tintype keys`."""
    add_action_and_name(parser, ("create", "list", "revoke"), "name of the key to create or revoke")
    new = parser.add_argument_group("create")
    new.add_argument("--requests", metavar="N", help="requests per minute (0: no limit; default: --rate-limit)")
    new.add_argument("--images", metavar="N", help="images per minute (0: no limit; default: --image-limit)")
    allowed = "model that the key may use; the first one is its default; may be repeated (default: all models)"
    new.add_argument("--model", metavar="NAME", dest="allowed", action="append", type=parse_utf8, help=allowed)
    new.add_argument("--priority", metavar="N", help="-100 to 100; requests of higher priority run first (default: 0)")
    admin = "allow loading and unloading models, and acting for other callers, as a gateway does"
    new.add_argument("--admin", action="store_true", help=admin)
    add_config(parser)
    add_setting(parser, GATEWAY["keys"])
    add_setting(parser, GATEWAY["data"])


def add_usage(parser: ArgumentParser) -> None:
    """Add the flags of `tintype usage`."""
    parser.add_argument("--key", metavar="NAME", type=parse_utf8, help="name of a key (default: all keys)")
    parser.add_argument("--since", metavar="DAY", help="first day, YYYY-MM-DD in UTC (default: 29 days before today)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, as GET /v1/usage")
    form.add_argument("--csv", action="store_true", help="print comma-separated values")
    add_config(parser)
    add_setting(parser, GATEWAY["data"])


def add_action_and_name(parser: ArgumentParser, actions: Sequence[str], name: str) -> None:
    """Add what to do, and the name of what."""
    parser.add_argument("action", metavar="ACTION", nargs="?", default="list", choices=actions, help=", ".join(actions))
    parser.add_argument("name", metavar="NAME", nargs="?", default="", type=parse_utf8, help=name)
