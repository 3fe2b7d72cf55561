"""One measurement: import, load, first image, warm images, callers.

    python -m libraries.child SIDE TASK RESULT IMAGE

TASK is JSON. RESULT gets the figures as JSON, and IMAGE the first image as an array of levels.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .sides import SIDES
from .task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from .side import Side


def measure(side: Side) -> tuple[dict[str, Any], Any]:
    """Return the figures of one side, and its first image.

    Times are in seconds: wall time, and CPU time of all threads. `ends` has the end of each stage on the system's
    monotonic clock.
    """
    found: dict[str, Any] = {"ends": {}}

    def stage(name: str, run: Callable[[], Any]) -> Any:
        began, cpu = time.monotonic(), time.process_time()
        result = run()
        found["ends"][name] = time.monotonic()
        found[name] = {"wall": found["ends"][name] - began, "cpu": time.process_time() - cpu}
        return result

    stage("import", side.import_library)
    stage("load", side.load)
    image = stage("first", lambda: side.generate(0))
    task = side.task
    for number in range(task.images):
        stage(f"warm {number}", partial(side.generate, number + 1))
    found["callers"] = {callers: side.serve(callers, task.each) for callers in task.callers}
    found["ends"]["callers"] = time.monotonic()
    return found, image


def main() -> None:
    """Measure one side, and write its figures and its image."""
    name, task, result, path = sys.argv[1:]
    found, image = measure(SIDES[name](Task.from_json(task)))
    import numpy as np  # noqa: PLC0415 - after the measurement

    np.save(path, image)
    Path(result).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
