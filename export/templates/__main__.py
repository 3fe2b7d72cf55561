"""Make templates: graphs of published architectures without weights.

    python -m tintype.export.templates [NAME ...]           # make these, or all, in the package's folder
    python -m tintype.export.templates --check [NAME ...]   # make them again and compare them with the folder's
    python -m tintype.export.templates --check --sample     # of these, one of each kind of graph
    python -m tintype.export.templates --config FOLDER OUT  # of the configurations of a pipeline in diffusers' layout

Exit codes: 0 done; 1 templates differ; 2 the command or a configuration is wrong.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import format_bytes
from ..errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUIRED_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "onnx")
WORKERS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"not installed: {', '.join(missing)}; this needs `pip install '.[export]'` in the clone\n")
        return 2
    try:
        return _write_pipeline(*options.config) if options.config else _write_or_check(options)
    except ExportError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tintype.export.templates", description="Make graphs of published architectures without weights."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="templates to make (default: all)")
    parser.add_argument("--sample", action="store_true", help="of these, the first template of each kind of graph")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="compare with the existing templates; write nothing")
    action.add_argument(
        "--config",
        metavar=("FOLDER", "OUT"),
        nargs=2,
        type=Path,
        help="make the templates of the configurations in FOLDER, in diffusers' layout, and write them to OUT",
    )
    parser.add_argument("--workers", type=int, default=WORKERS, help=f"processes (default: {WORKERS})")
    return parser


def _write_pipeline(folder: Path, out: Path) -> int:
    from .pipelines import write_templates  # noqa: PLC0415 - imports torch

    write_templates(folder, out)
    return 0


def _write_or_check(options: argparse.Namespace) -> int:
    from tintype.service.models.templates.catalogue import DATA  # noqa: PLC0415 - with torch only

    from .configurations import published  # noqa: PLC0415 - imports torch
    from .folder import compare, write  # noqa: PLC0415
    from .making import NUMBERS  # noqa: PLC0415
    from .parallel import make_all  # noqa: PLC0415

    known = published()
    unknown = [name for name in options.names if name not in known]
    if unknown:
        sys.stderr.write(f"there is no template {', '.join(unknown)}; there are: {', '.join(known)}\n")
        return 2
    faults, made = [], {}
    configs = {name: known[name] for name in options.names or known}
    if options.sample:
        first = {config.kind: name for name, config in reversed(configs.items())}
        configs = {name: configs[name] for name in first.values()}
    # The committed templates were made with both numbers. So the second alone shows that they hold no weight's value.
    for result in make_all(configs, NUMBERS[1:] if options.check else NUMBERS, options.workers):
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()
        if options.check:
            faults += compare(DATA, result.name, result.made)
        else:
            made[result.name] = result.made
    if made:
        size = write(DATA, made, replace=not (options.names or options.sample))
        sys.stdout.write(f"wrote {len(made)} templates of {format_bytes(size)} to {DATA}\n")
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
