"""`tintype export SOURCE OUT`: export a diffusers pipeline to a folder that the service serves.

`tintype export --lora ADAPTER MODEL_FOLDER` adds an adapter to such a folder.

This module imports torch and diffusers only when it exports something.
Exit codes: 0 done; 1 the result differs from the source; 2 the export is not possible as requested.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .console import ProgressLog, format_bytes, quiet
from .errors import ExportError, ExportRefusal
from .source import find_source, is_hub_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .exporter import ExportOptions, ExportResult
    from .source import Source

GRAPH_PACKAGES = ("onnx", "onnxruntime")
REQUIRED_PACKAGES = ("torch", "diffusers", "transformers", *GRAPH_PACKAGES)
# The values of `graph.precision`, which imports onnx.
PRECISIONS = ("fp32", "fp16", "int8")
TARGETS = ("cpu", "gpu")
MAX_WEIGHT = 4
"""Limit for the absolute weight of a fused adapter; adapters chosen by requests have the same limit."""
NAME = re.compile(r"[\w.-]+")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: sys.argv) and return its exit code."""
    try:
        arguments = make_parser().parse_args(argv)
        if arguments.lora:
            return _export_lora(arguments)
        result = _export(arguments)
    except ExportError as error:
        sys.stderr.write(f"tintype export: {' '.join(str(error).split())}\n")
        return error.exit_code
    sys.stdout.write(_as_json(arguments.out, result) if arguments.json else _as_text(arguments.out, result))
    return 0


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all errors of the command."""

    def error(self, message: str) -> NoReturn:
        """Raise ExportRefusal."""
        raise ExportRefusal(f"{message}; see `{self.prog} --help`")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = OneLineParser(
        prog="tintype export", description="Export a diffusers pipeline to ONNX, as a folder that tintype serves."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder in diffusers' layout, or hub id such as owner/name; with --lora a .safetensors file",
    )
    parser.add_argument(
        "out", metavar="OUT", type=Path, help="folder to write; with --lora the folder of an exported model"
    )
    _add_graph_options(parser)
    _add_adapter_options(parser)
    parser.add_argument("--name", help="name of the model or the adapter in requests (default: the name of SOURCE)")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists and is not empty")
    _add_check_options(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON; progress is always on stderr")
    return parser


def _add_graph_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the number formats of the graphs."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="weights on disk: fp16 takes half the space, int8 a quarter with slightly different images "
        "(default: fp32)",
    )
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="cpu",
        help="device to run on: cpu runs everywhere and computes in float32, gpu computes fp16 and int8 in float16 "
        "(default: cpu)",
    )


def _add_adapter_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for adapters."""
    parser.add_argument(
        "--with-lora",
        action="store_true",
        help="let requests choose adapters (LoRA); a few percent slower even without one",
    )
    parser.add_argument(
        "--fuse-lora",
        metavar="FILE[:WEIGHT]",
        action="append",
        default=[],
        help="add an adapter (LoRA, LoHa, LoKr, DoRA) to the weights, times WEIGHT (default: 1); may be repeated",
    )
    parser.add_argument(
        "--lora",
        action="store_true",
        help="SOURCE is an adapter (LoRA) for the model in OUT, which was exported with --with-lora",
    )


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that skip comparisons."""
    skipped = parser.add_mutually_exclusive_group()
    skipped.add_argument(
        "--no-image",
        action="store_true",
        help="skip the comparison of a whole image, which needs the whole pipeline in memory",
    )
    skipped.add_argument(
        "--no-picture", dest="no_image", action="store_true", help=argparse.SUPPRESS
    )  # the former name
    skipped.add_argument("--no-verify", action="store_true", help="skip all comparisons with torch and diffusers")


def _export(arguments: argparse.Namespace) -> ExportResult:
    _check_packages(REQUIRED_PACKAGES)
    _check_target(arguments.out, force=arguments.force)
    if arguments.name:
        _check_name(arguments.name)
    progress = ProgressLog(sys.stderr)
    source = _find_source(arguments.source, progress)
    options = _options(arguments, arguments.name or source.name)
    from .exporter import run  # noqa: PLC0415 - imports torch

    try:
        return run(source, arguments.out.absolute(), options, progress)
    except OSError as error:  # the disk is full or read-only
        remains = f"finished components stay in {arguments.out}.partial, and the same command continues there"
        raise ExportRefusal(f"{error.strerror or error}: {error.filename or arguments.out}; {remains}") from None


def _options(arguments: argparse.Namespace, name: str) -> ExportOptions:
    """Return the options of an export, checked before torch is imported."""
    _check_name(name)
    fused = [_parse_fused(text) for text in arguments.fuse_lora]
    with quiet():
        from .adapters.fuse import FusedAdapter  # noqa: PLC0415
        from .exporter import ExportOptions  # noqa: PLC0415 - imports torch
    return ExportOptions(
        name=name,
        precision=arguments.precision,
        target=arguments.target,
        verify=not arguments.no_verify,
        image=not (arguments.no_verify or arguments.no_image),
        adapters=arguments.with_lora,
        fuse=tuple(FusedAdapter(path, weight) for path, weight in fused),
    )


def _export_lora(arguments: argparse.Namespace) -> int:
    _check_packages((*GRAPH_PACKAGES, "safetensors"))
    if arguments.fuse_lora or arguments.with_lora:
        raise ExportRefusal(
            "--lora adds an adapter to an exported model; it cannot be combined with --fuse-lora or --with-lora"
        )
    adapter = Path(arguments.source)
    _check_adapter(adapter)
    if not (arguments.out / "model_index.json").is_file():
        raise ExportRefusal(f"{arguments.out} is not an exported model: it has no model_index.json")
    name = arguments.name or adapter.stem
    _check_name(name)
    from .adapters import lora  # noqa: PLC0415 - imports onnx

    path = lora.run(adapter, arguments.out, name, force=arguments.force)
    sys.stdout.write(json.dumps({"adapter": name, "file": str(path)}) + "\n" if arguments.json else f"{path}\n")
    return 0


def _parse_fused(text: str) -> tuple[Path, float]:
    """Parse FILE[:WEIGHT]; only a number after the last colon is a weight."""
    name, colon, weight = text.rpartition(":")
    try:
        path, factor = (Path(name), float(weight)) if colon and not Path(text).exists() else (Path(text), 1.0)
    except ValueError:
        path, factor = Path(text), 1.0
    _check_adapter(path)
    if not -MAX_WEIGHT <= factor <= MAX_WEIGHT:
        raise ExportRefusal(f"--fuse-lora {text}: the weight must be from -{MAX_WEIGHT} to {MAX_WEIGHT}")
    return path, factor


def _check_adapter(path: Path) -> None:
    if not path.is_file():
        raise ExportRefusal(f"{path} is not a file; an adapter must be a file NAME.safetensors")


def _find_source(location: str, progress: ProgressLog) -> Source:
    if not is_hub_id(location):
        return find_source(location)
    with progress.stage(f"looking for {location} on the hub"):
        return find_source(location)


def _check_packages(required: Sequence[str]) -> None:
    missing = [name for name in required if find_spec(name) is None]
    if missing:
        raise ExportRefusal(
            f"not installed: {', '.join(missing)}; an export needs `pip install '.[export]'` in the clone"
        )


def _check_target(out: Path, *, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ExportRefusal(f"{out} is a file; OUT must be a folder or not exist")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ExportRefusal(f"{out} is not empty; --force replaces it")


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ExportRefusal(f"--name must consist of letters, digits, dots, dashes and underscores; got {name!r}")


def _as_text(out: Path, result: ExportResult) -> str:
    return f"{out}: {result.manifest['name']}, {format_bytes(result.size)}\n"


def _as_json(out: Path, result: ExportResult) -> str:
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
