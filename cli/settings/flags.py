"""Add the flags of settings to a parser. Their values stay text; `sources` parses them."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from typing import TYPE_CHECKING

from .definitions import SECTIONS, Setting, settings_of
from .values import SIZE, format_size

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Collection

    from ..parser import FlagContainer

# Settings of the service that replicas of a cluster don't have: the ingress listens, each has one device, and a
# node may have several.
NOT_IN_A_CLUSTER = ("grpc", "devices", "lame_duck", "connection_age", "metrics", "tls_cert", "tls_key", "tls_client_ca")


def add_config(parser: FlagContainer) -> None:
    """Add --config."""
    parser.add_argument(
        "--config", metavar="FILE", help="settings file (default: ./tintype.toml, if it exists) [TINTYPE_CONFIG]"
    )


def add_service(parser: FlagContainer, help_: str) -> None:
    """Add the address and credentials of a gRPC service; `help_` is that of the address."""
    settings = settings_of(SECTIONS["gateway"])
    add_setting(parser, settings["grpc"], help_)
    for name in ("service_key", "tls_ca", "service_cert", "service_cert_key"):
        add_setting(parser, settings[name])


def add_setting(parser: FlagContainer, setting: Setting, help_: str = "") -> None:
    """Add the flag of a setting, with `help_` in place of its own help."""
    text = f"{help_ or setting.help + _default(setting)} [{setting.env}]"
    if isinstance(setting.default, bool):
        parser.add_argument(setting.flag, dest=setting.name, default=None, help=text, action=BooleanOptionalAction)
        return
    action = "append" if isinstance(setting.default, tuple) else "store"
    parser.add_argument(
        setting.flag, dest=setting.name, default=None, help=text, action=action, metavar=setting.type.metavar
    )


def add_section(parser: FlagContainer, name: str, *, without: Collection[str] = ()) -> None:
    """Add the flags of all settings of a section."""
    for setting in settings_of(SECTIONS[name]).values():
        if setting.name not in without:
            add_setting(parser, setting)


def _default(setting: Setting) -> str:
    """Return the default for the end of a setting's help; empty if it is empty, 0 or off."""
    if isinstance(setting.default, tuple):
        return "; may be repeated"
    if not setting.default or not isinstance(setting.default, str | int | float):
        return ""
    if setting.default is True:
        return " (default: on)"
    if setting.type is SIZE and isinstance(setting.default, int):
        return f" (default: {format_size(setting.default)})"
    return f" (default: {format(setting.default, 'g') if isinstance(setting.default, float) else setting.default})"


def add_cluster(parser: ArgumentParser) -> None:
    """Add the actions and flags of `tintype cluster`."""
    actions = ("up", "status", "down", "manifest")
    what = "up (deploy, or update replica by replica), status, down, or manifest (print a RayService for Kubernetes)"
    parser.add_argument("action", metavar="ACTION", nargs="?", default="status", choices=actions, help=what)
    parser.add_argument("--image", metavar="NAME", help="container image in the manifest (default: tintype-ray)")
    add_config(parser)
    add_section(parser.add_argument_group("cluster"), "cluster")
    add_section(parser.add_argument_group("service"), "service", without=NOT_IN_A_CLUSTER)
