"""`tintype export SOURCE OUT`: a diffusers pipeline becomes a folder that the service serves.

`tintype export --lora ADAPTER MODEL_FOLDER` adds an adapter to such a folder; `--fuse-lora` makes one part of a model.

This module is light: torch and its kin are imported when there is something to export.
Exit codes: 0 done; 1 what was written differs from the source; 2 it can't be done as asked.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .console import Progress, readable
from .errors import ExportError, Refused
from .quiet import quiet
from .source import find, on_hub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .exporter import Result
    from .source import Source

EXTRAS = ("torch", "diffusers", "transformers", "onnx", "onnxruntime")
PRECISIONS = ("fp32", "fp16", "int8")
TARGETS = ("cpu", "gpu")
MOST_WEIGHT = 4
"""Of an adapter that is fused: as of one that a request chooses."""
NAME = re.compile(r"[\w.-]+")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (sys.argv's by default) and return its exit code."""
    try:
        arguments = parser().parse_args(argv)
        if arguments.lora:
            return _export_lora(arguments)
        result = _export(arguments)
    except ExportError as error:
        sys.stderr.write(f"tintype export: {' '.join(str(error).split())}\n")
        return error.exit_code
    sys.stdout.write(_as_json(arguments.out, result) if arguments.json else _as_text(arguments.out, result))
    return 0


class Parser(argparse.ArgumentParser):
    """One whose errors are one line, as all of the command's are."""

    def error(self, message: str) -> NoReturn:
        """Raise Refused."""
        raise Refused(f"{message}; see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    made = Parser(
        prog="tintype export", description="Export a diffusers pipeline to ONNX, as a folder that tintype serves."
    )
    made.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder in diffusers' layout, or a hub id such as owner/name; with --lora a .safetensors file",
    )
    made.add_argument("out", metavar="OUT", type=Path, help="the folder to write; with --lora a model's, already there")
    _say_what(made)
    made.add_argument("--name", help="what requests call the model or the adapter (default: the source's name)")
    made.add_argument("--force", action="store_true", help="replace OUT if it is there and not empty")
    _say_what_is_checked(made)
    made.add_argument("--json", action="store_true", help="print the result as JSON; progress goes to stderr always")
    return made


def _say_what(made: argparse.ArgumentParser) -> None:
    """Add what decides which graphs are written."""
    made.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="of the weights on disk: fp16 takes half of the space, int8 a quarter and draws a little otherwise "
        "(default: fp32)",
    )
    made.add_argument(
        "--target",
        choices=TARGETS,
        default="cpu",
        help="who computes: cpu runs everywhere and computes in float32, gpu computes fp16 and int8 in float16 "
        "(default: cpu)",
    )
    made.add_argument(
        "--with-lora",
        action="store_true",
        help="let requests choose adapters (LoRA), a few percent slower even where none is chosen",
    )
    made.add_argument(
        "--fuse-lora",
        metavar="FILE[:WEIGHT]",
        action="append",
        default=[],
        help="make an adapter (LoRA, LoHa, LoKr, DoRA) part of the weights, with a weight of 1 or this one; may repeat",
    )
    made.add_argument(
        "--lora",
        action="store_true",
        help="SOURCE is an adapter (LoRA) for the model in OUT, which was exported with --with-lora",
    )


def _say_what_is_checked(made: argparse.ArgumentParser) -> None:
    """Add what leaves comparisons out."""
    less = made.add_mutually_exclusive_group()
    less.add_argument(
        "--no-picture",
        action="store_true",
        help="compare all but a whole picture, for which the whole pipeline has to be in memory",
    )
    less.add_argument("--no-verify", action="store_true", help="do not compare with torch and diffusers")


def _export(arguments: argparse.Namespace) -> Result:
    _check_extras()
    _check_target(arguments.out, force=arguments.force)
    if arguments.name:
        _check_name(arguments.name)
    progress = Progress(sys.stderr)
    source = _find(arguments.source, progress)
    name = arguments.name or source.name
    _check_name(name)
    chosen = [_chosen(text) for text in arguments.fuse_lora]
    with quiet():
        from .adapters.fuse import Chosen  # noqa: PLC0415
        from .exporter import Options, run  # noqa: PLC0415 - it brings torch

    options = Options(
        name=name,
        precision=arguments.precision,
        target=arguments.target,
        verify=not arguments.no_verify,
        picture=not (arguments.no_verify or arguments.no_picture),
        adapters=arguments.with_lora,
        fuse=tuple(Chosen(path, weight) for path, weight in chosen),
    )
    try:
        return run(source, arguments.out.absolute(), options, progress)
    except OSError as error:  # a disk that has filled up meanwhile, or one that must not be written to
        remains = f"what is done stays in {arguments.out}.partial, and the same command goes on there"
        raise Refused(f"{error.strerror or error}: {error.filename or arguments.out}; {remains}") from None


def _export_lora(arguments: argparse.Namespace) -> int:
    _check_extras()
    if arguments.fuse_lora or arguments.with_lora:
        raise Refused("--lora adds an adapter to a model that is there; --fuse-lora and --with-lora export a model")
    adapter = Path(arguments.source)
    _check_adapter(adapter)
    if not (arguments.out / "model_index.json").is_file():
        raise Refused(f"{arguments.out} is no exported model: it has no model_index.json")
    name = arguments.name or adapter.stem
    _check_name(name)
    with quiet():
        from .adapters import lora  # noqa: PLC0415 - it brings torch

    written = lora.run(adapter, arguments.out, name, force=arguments.force)
    sys.stdout.write(json.dumps({"adapter": name, "file": str(written)}) + "\n" if arguments.json else f"{written}\n")
    return 0


def _chosen(text: str) -> tuple[Path, float]:
    """Read FILE[:WEIGHT]; only a number after the colon is a weight."""
    name, colon, weight = text.rpartition(":")
    try:
        made = (Path(name), float(weight)) if colon and not Path(text).exists() else (Path(text), 1.0)
    except ValueError:
        made = Path(text), 1.0
    _check_adapter(made[0])
    if not -MOST_WEIGHT <= made[1] <= MOST_WEIGHT:
        raise Refused(f"--fuse-lora {text}: the weight must be from -{MOST_WEIGHT} to {MOST_WEIGHT}")
    return made


def _check_adapter(path: Path) -> None:
    if not path.is_file():
        raise Refused(f"{path} is not a file; an adapter is a file NAME.safetensors")


def _find(location: str, progress: Progress) -> Source:
    if not on_hub(location):
        return find(location)
    with progress.stage(f"asking the hub for {location}"):
        return find(location)


def _check_extras() -> None:
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise Refused(
            f"{', '.join(missing)} missing; to install what an export needs: pip install '.[export]' in the clone"
        )


def _check_target(out: Path, *, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is a file; OUT must be a folder, or not exist")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise Refused(f"{out} is not empty; --force replaces it")


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Refused(f"--name {name!r} must be letters, digits, dots, dashes and underscores")


def _as_text(out: Path, result: Result) -> str:
    return f"{out}: {result.manifest['name']}, {readable(result.size)}\n"


def _as_json(out: Path, result: Result) -> str:
    facts = {
        "folder": str(out),
        "name": result.manifest["name"],
        "precision": result.manifest["precision"],
        "bytes": result.size,
        "target": result.manifest["target"],
        "checks": [check.as_json() for check in result.checks],
    }
    return json.dumps(facts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
