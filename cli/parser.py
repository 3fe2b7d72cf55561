"""An argument parser whose errors are one line and suggest the intended flag or command.

This is the only module that uses private names of argparse; PRIVATE lists them. They exist in Python 3.11 to 3.13. A
test checks that they exist in the Python that runs it.
"""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser, RawDescriptionHelpFormatter
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from .errors import UserError

if TYPE_CHECKING:
    from argparse import _ArgumentGroup
    from collections.abc import Mapping, Sequence

    FlagContainer: TypeAlias = ArgumentParser | _ArgumentGroup

# An attribute of ArgumentParser that is read, a method of it that is overridden, and the type of a group of flags.
PRIVATE = ("_option_string_actions", "_check_value", "_ArgumentGroup")


class Parser(ArgumentParser):
    """An ArgumentParser that raises UserError.

    `owners` maps flags of other commands to those commands, for the message about a flag that this one does not have.
    `rest` names a positional argument with any number of values, which may be given before and after flags.
    """

    def __init__(self, *, owners: Mapping[str, Sequence[str]] | None = None, **options: Any) -> None:
        super().__init__(formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False, **options)
        self._owners = owners or {}
        self.rest = ""

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{message}; see `{self.prog} --help`")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse arguments, and reject those that this command does not have."""
        arguments, unknown = super().parse_known_args(args, namespace)
        if self.rest and not any(word.startswith("-") and word != "-" for word in unknown):
            getattr(arguments, self.rest).extend(unknown)
            unknown = []
        if unknown:
            self.error(f"unrecognized argument {unknown[0]!r}{self._hint(unknown[0].partition('=')[0])}")
        return arguments, unknown

    def _hint(self, flag: str) -> str:
        """Return a hint: the commands that have this flag, or the flag that was probably meant."""
        if flag in self._owners and flag not in self._option_string_actions:
            return f" (a flag of {' and '.join(f'`tintype {command}`' for command in self._owners[flag])})"
        visible = [name for name, action in self._option_string_actions.items() if action.help is not SUPPRESS]
        known = {name.lstrip("-"): name for name in visible if name != flag}
        word = flag.lstrip("-")
        close = [name for name in known if word and name.startswith(word)] or get_close_matches(word, known, 1)
        return f" (did you mean {known[close[0]]}?)" if close else ""

    def _check_value(self, action: Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            close = get_close_matches(str(value), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from: {', '.join(known)}"
            raise UserError(f"invalid {str(action.metavar).lower()} {value!r}; {hint}")


class OnceAction(Action):
    """Store the value of a flag that may be given only once, since a flag of that name is repeated elsewhere."""

    def __call__(self, parser: ArgumentParser, namespace: Any, values: Any, flag: str | None = None) -> None:
        """Store the value, or reject the second one."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{parser.prog.split()[-1]} takes one {flag}")
        setattr(namespace, self.dest, values)


class VersionAction(Action):
    """`--version`: looks up the version only when it is used."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        """Print the version and exit."""
        version = import_module("tintype.gateway.version").Version.installed()
        print(f"tintype {version.version}{f' ({version.commit})' if version.commit else ''}")
        parser.exit()
