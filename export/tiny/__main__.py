"""`python -m tintype.export.tiny FOLDER [family ...]`: write FOLDER/<family>/ in diffusers' layout."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from ..console import quiet

REQUIRED_PACKAGES = ("torch", "diffusers", "transformers")


def main(arguments: list[str]) -> str:
    """Write the pipelines; return an error in one line, or an empty text."""
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}; this needs `pip install '.[export]'` in the clone"
    with quiet():
        from .pipelines import FAMILIES, write_pipeline  # noqa: PLC0415 - imports torch

    folder, *names = arguments or [""]
    unknown = [name for name in names if name not in FAMILIES]
    if not folder or unknown:
        return f"usage: python -m tintype.export.tiny FOLDER [family ...]; families: {', '.join(FAMILIES)}"
    for name in names or FAMILIES:
        sys.stdout.write(f"{write_pipeline(name, Path(folder))}\n")
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
