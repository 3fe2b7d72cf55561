"""`python -m tintype.export.tiny FOLDER [FAMILY ...]`: write FOLDER/<family>/ in diffusers' layout."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from ..console import quiet

REQUIRED_PACKAGES = ("torch", "diffusers", "transformers")


def main(arguments: list[str]) -> str:
    """Write the pipelines; return an error in one line, or an empty text. Raises SystemExit for wrong arguments."""
    parsed = _parser().parse_args(arguments)
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}; this needs `pip install '.[export]'` in the clone"
    with quiet():
        from .pipelines import FAMILIES, write_pipeline  # noqa: PLC0415 - imports torch

    unknown = [name for name in parsed.families if name not in FAMILIES]
    if unknown:
        return f"FAMILY must be one of {', '.join(FAMILIES)}; got {unknown[0]!r}"
    for name in parsed.families or FAMILIES:
        sys.stdout.write(f"{write_pipeline(name, parsed.folder)}\n")
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tintype.export.tiny",
        description="Write small random pipelines in diffusers' layout, to try an export with.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="FOLDER", type=_folder, help="where to write: FOLDER/<family>/ for each")
    parser.add_argument("families", metavar="FAMILY", nargs="*", help="families to write (default: all)")
    return parser


def _folder(text: str) -> Path:
    """Return the path of a folder. Raises ArgumentTypeError for an empty name."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
