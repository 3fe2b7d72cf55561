"""The flags of each command. Their values stay text here: `sources` and the commands read them."""

from __future__ import annotations

from argparse import ArgumentTypeError, BooleanOptionalAction
from typing import TYPE_CHECKING, Any

from .settings.definitions import SECTIONS, Setting, settings_of
from .settings.values import KINDS, format_size, parse_text

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from argparse import _ArgumentGroup as Group
    from collections.abc import Collection

SERVICE, GATEWAY = settings_of(SECTIONS["service"]), settings_of(SECTIONS["gateway"])

# What `generate` asks for: flag, value, default, help.
GENERATION = (
    ("--size", "WxH", None, "pixels, such as 512x512; default: the model's own"),
    ("--steps", "N", None, "denoising steps; default: the model's own"),
    ("--seed", "N", None, "the same seed makes the same image; default: a random one"),
    ("--guidance", "X", None, "how closely to follow the prompt; default: the model's own"),
    ("--negative", "PROMPT", "", "what the image shall not show"),
    ("--sampler", "NAME", "", "such as euler or dpmpp_2m; default: the model's own"),
    ("--schedule", "NAME", "", "how noise levels are spaced, such as karras; default: the sampler's own"),
    ("--quality", "NAME", "", "how much effort, such as low or hd; default: the model's own"),
    ("--style", "NAME", "", "such as vivid or natural; default: none"),
    ("--count", "N", "1", "how many images, with seeds that follow each other; default: 1"),
    ("--image", "FILE", None, "an image to start from: PNG, JPEG or WebP"),
    ("--mask", "FILE", None, "what of it to repaint: white or transparent; default: everything"),
    ("--strength", "X", None, "how far to leave it, 0 to 1; default: 0.8"),
    ("--model", "FOLDER|NAME", None, "a model's folder, or the name of one that is served; default: the first"),
)


def add_setting(parser: ArgumentParser | Group, setting: Setting, help_: str = "") -> None:
    """Add the flag of a setting."""
    more: dict[str, Any] = {"metavar": setting.kind.metavar}
    if isinstance(setting.default, bool):
        more = {"action": BooleanOptionalAction}
    elif isinstance(setting.default, tuple):
        more["action"] = "append"
    text = help_ or setting.help + _more(setting)
    parser.add_argument(setting.flag, dest=setting.name, default=None, help=f"{text} [{setting.env}]", **more)


def _more(setting: Setting) -> str:
    """The help of a setting goes on with its default, where that says something by itself."""
    if isinstance(setting.default, tuple):
        return "; may be repeated"
    if setting.default and setting.kind is KINDS["bytes"]:
        return f"; default: {format_size(setting.default)}"
    said = setting.default and isinstance(setting.default, str | int | float)
    return f"; default: {setting.default}" if said else ""


def _utf8(text: str) -> str:
    """Check a text that goes into a message. Raises ArgumentTypeError."""
    try:
        return parse_text(text)
    except ValueError as error:
        raise ArgumentTypeError(f"wants text in UTF-8, not {text!r}") from error


def add_config(parser: ArgumentParser) -> None:
    """Add --config."""
    parser.add_argument("--config", metavar="FILE", help="settings file; default: ./tintype.toml [TINTYPE_CONFIG]")


def _section(parser: ArgumentParser | Group, name: str, *, without: Collection[str] = ()) -> None:
    for setting in settings_of(SECTIONS[name]).values():
        if setting.name not in without:
            add_setting(parser, setting)


def serve(parser: ArgumentParser) -> None:
    """Add all settings of the service."""
    add_config(parser)
    _section(parser, "service")


def gateway(parser: ArgumentParser) -> None:
    """Add all settings of the gateway."""
    add_config(parser)
    _section(parser, "gateway")


def up(parser: ArgumentParser) -> None:
    """Add what is `up`'s own, and all settings of both."""
    check = "start, make one image through REST, stop; the exit code is 0 if all went well"
    output = "file of the first image; default: first-picture.png"
    parser.add_argument("--first-picture", metavar="PROMPT", help="make this image through REST once both are ready")
    parser.add_argument("-o", "--output", metavar="FILE", help=output)
    parser.add_argument("--check", action="store_true", help=check)
    add_config(parser)
    _section(parser.add_argument_group("service"), "service")
    _section(parser.add_argument_group("gateway"), "gateway", without=SERVICE)


def generate(parser: ArgumentParser) -> None:
    """Add what to draw, where to write it, and which service draws it."""
    output = "PNG, JPEG or WebP by its ending; several get numbers, lake-1.png; - is stdout; default: picture.png"
    parser.add_argument("prompt", metavar="PROMPT", type=_utf8, help="what the image shows")
    parser.add_argument("-o", "--output", metavar="FILE", default="picture.png", help=output)
    for flag, metavar, default, text in GENERATION:
        parser.add_argument(flag, metavar=metavar, default=default, help=text)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    _service(parser, "a running service, HOST:PORT; default: none, the model runs in this process")
    for name in ("providers", "memory", "threads"):
        add_setting(parser, SERVICE[name])


def models(parser: ArgumentParser) -> None:
    """Add what to do with which model of which service."""
    actions = ("list", "load", "unload")
    parser.add_argument("action", metavar="ACTION", nargs="?", default="list", choices=actions, help=", ".join(actions))
    parser.add_argument("name", metavar="NAME", nargs="?", default="", type=_utf8, help="the model to load or unload")
    _service(parser, "the service to ask, HOST:PORT; default: 127.0.0.1:50051")


def keys(parser: ArgumentParser) -> None:
    """Add what to do with which key, and what a new one may."""
    actions = ("create", "list", "revoke")
    parser.add_argument("action", metavar="ACTION", nargs="?", default="list", choices=actions, help=", ".join(actions))
    parser.add_argument("name", metavar="NAME", nargs="?", default="", type=_utf8, help="whose key to create or revoke")
    new = parser.add_argument_group("create")
    new.add_argument("--requests", metavar="N", help="requests in a minute; 0: any number; default: --rate-limit")
    new.add_argument("--images", metavar="N", help="images in a minute; 0: any number; default: --image-limit")
    allowed = "a model that it may use, the first being its default; may be repeated; default: all models"
    new.add_argument("--model", metavar="NAME", dest="allowed", action="append", type=_utf8, help=allowed)
    new.add_argument("--priority", metavar="N", help="-100 to 100; requests of higher priority go first; default: 0")
    admin = "may load and unload models, and act for other callers, as a gateway does"
    new.add_argument("--admin", action="store_true", help=admin)
    add_config(parser)
    add_setting(parser, GATEWAY["keys"])
    add_setting(parser, GATEWAY["data"])


def _service(parser: ArgumentParser, help_: str) -> None:
    add_config(parser)
    add_setting(parser, GATEWAY["grpc"], help_)
    for name in ("service_key", "tls_ca", "service_cert", "service_cert_key"):
        add_setting(parser, GATEWAY[name])
