"""`python -m tintype.export.tiny FOLDER [family ...]` writes FOLDER/<family>/ in diffusers' layout."""

from __future__ import annotations

import sys
from pathlib import Path

from . import FAMILIES, make

for name in sys.argv[2:] or FAMILIES:
    sys.stdout.write(f"{make(name, Path(sys.argv[1]))}\n")
