"""The command line, read by argparse.

Nothing imported here is more than the standard library and the settings, so that `tintype --help` is there at once.
"""

from __future__ import annotations

from argparse import Action, ArgumentParser, RawDescriptionHelpFormatter
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from .commands import COMMANDS, EXPORT, EXPORT_HELP
from .errors import UserError
from .settings.definitions import SECTIONS, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DESCRIPTION = """\
Self-hosted image generation: a gRPC service for ONNX diffusion models, and a REST gateway that speaks OpenAI's JSON.

  tintype up                                                start both, with the built-in model
  tintype generate "A serene mountain lake" -o lake.png     make a picture, without a server
  tintype COMMAND --help                                    all flags of a command, with examples
"""
EPILOG = """\
Every setting is a flag, a variable and a line of tintype.toml; the first of them that is given counts:
  --memory 6GiB          TINTYPE_MEMORY=6GiB          memory = "6GiB"
"""


class Parser(ArgumentParser):
    """An ArgumentParser whose errors are one line, and guess what was meant."""

    def __init__(self, **how: Any) -> None:
        super().__init__(formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False, **how)

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{message}; see `{self.prog} --help`")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse a flag that this command does not have, and name the nearest one."""
        arguments, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"there is no {rest[0]!r} here{self._instead(rest[0].partition('=')[0])}")
        return arguments, rest

    def _instead(self, flag: str) -> str:
        """Say where a flag belongs that is not of this command, or which one was meant."""
        servers = import_module(".servers.serve", __package__).SERVERS
        homes = [f"`tintype {command}`" for command, server in servers.items() if flag in _flags(server.section)]
        if homes and flag not in self._option_string_actions:
            return f": it belongs to {' and '.join(homes)}"
        known = {name.lstrip("-"): name for name in self._option_string_actions if name != flag}
        close = get_close_matches(flag.lstrip("-"), known, 1)
        return f"; did you mean {known[close[0]]}?" if close else ""

    def _check_value(self, action: Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            close = get_close_matches(str(value), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
            raise UserError(f"there is no {str(action.metavar).lower()} {value!r}; {hint}")


class Version(Action):
    """`--version`: looks the version up when it is asked for."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        """Print and leave."""
        print(f"tintype {import_module('importlib.metadata').version('tintype')}")
        parser.exit()


def run(argv: Sequence[str]) -> int:
    """Do what the command line asks for, and return the exit code. Raises UserError."""
    if argv and argv[0] == EXPORT:
        return _runner(EXPORT)(list(argv[1:]))
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    return _runner(COMMANDS[arguments.command].module)(arguments)


def _parser() -> Parser:
    parser = Parser(prog="tintype", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", title="commands")
    for name, command in COMMANDS.items():
        command.add_flags(commands.add_parser(name, help=command.help, description=command.help, epilog=command.epilog))
    commands.add_parser(EXPORT, help=EXPORT_HELP, add_help=False)
    return parser


def _flags(section: str) -> set[str]:
    return {setting.flag for setting in settings_of(SECTIONS[section]).values()}


def _runner(module: str) -> Callable[[Any], int]:
    run: Callable[[Any], int] = import_module(f".{module}", __package__).run
    return run
