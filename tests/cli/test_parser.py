"""The private names of argparse that the command's parser uses, and the suggestions that it makes with them."""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

import pytest

from tintype.cli import parser
from tintype.cli.errors import UserError
from tintype.cli.parser import PRIVATE, Parser

FOLDER = Path(parser.__file__).parent


def private_names(source: str) -> set[str]:
    """Return the private names of argparse that a module reads, overrides or imports."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    names |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    known = set(dir(argparse)) | set(dir(argparse.ArgumentParser()))
    return {name for name in names & known if name.startswith("_") and not name.startswith("__")}


@pytest.mark.parametrize("name", ["_option_string_actions", "_check_value", "_ArgumentGroup"])
def test_private_names_exist(name: str) -> None:
    """This Python's argparse has each private name that the parser uses."""
    owner = argparse if name == "_ArgumentGroup" else argparse.ArgumentParser()
    message = f"argparse of Python {sys.version.split()[0]} has no {name}: adapt cli/parser.py, which alone uses it"
    assert hasattr(owner, name), message


def test_private_names_are_listed() -> None:
    """PRIVATE lists each private name that the parser uses; the test above covers each of them."""
    assert private_names((FOLDER / "parser.py").read_text("utf-8")) == set(PRIVATE)
    assert set(PRIVATE) == {"_option_string_actions", "_check_value", "_ArgumentGroup"}


def test_private_names_are_in_one_module() -> None:
    """No other module of the command uses a private name of argparse."""
    others = [path for path in FOLDER.rglob("*.py") if path.name != "parser.py"]
    assert [str(path) for path in others if private_names(path.read_text("utf-8"))] == []


def test_check_value_is_called() -> None:
    """Argparse calls the overridden method, so that a wrong choice is one line with a suggestion."""
    known = Parser(prog="x")
    known.add_argument("action", metavar="ACTION", choices=["load", "unload"])
    with pytest.raises(UserError, match=r"^invalid action 'lod'; did you mean 'load'\?$"):
        known.parse_args(["lod"])
    with pytest.raises(UserError, match=r"^invalid action 'x'; choose from: load, unload$"):
        known.parse_args(["x"])


def test_unknown_flag_names_its_commands() -> None:
    """The error names the commands that have the flag, otherwise a visible flag that it abbreviates or resembles."""
    known = Parser(prog="x", owners={"--other": ["a", "b"]})
    known.add_argument("--visible")
    known.add_argument("--hidden", help=argparse.SUPPRESS)
    with pytest.raises(UserError, match=r"argument '--other=1' \(a flag of `tintype a` and `tintype b`\); see"):
        known.parse_args(["--other=1"])
    with pytest.raises(UserError, match=r"argument '--visibel' \(did you mean --visible\?\); see `x --help`"):
        known.parse_args(["--visibel"])
    with pytest.raises(UserError, match=r"argument '--vi' \(did you mean --visible\?\); see `x --help`"):
        known.parse_args(["--vi"])
    with pytest.raises(UserError, match=r"^unrecognized argument '--hiden'; see `x --help`"):
        known.parse_args(["--hiden"])
