"""`python -m tintype.cli` is `tintype`."""

import sys

from . import main

sys.exit(main())
