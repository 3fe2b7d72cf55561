"""Export pipelines by optimum: reads [[source, target, task], ...] from the standard input."""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import redirect_stdout

from optimum.exporters.onnx import main_export

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with redirect_stdout(sys.stderr):
        for source, target, task in json.load(sys.stdin):
            main_export(source, target, task=task, do_validation=False)
    json.dump(None, sys.stdout)
