"""Make the plots and the tables of docs/benchmarks.md from bench/results.

    python bench/plots.py [--check]

Tables lie between `<!-- result NAME -->` and `<!-- end -->`. With --check nothing is written: the exit code is 1 if the
page or a plot is not what the results give.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from plotting import figures, results, tables
from plotting.goals import goals

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
PAGE, IMAGES = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "images"
MARKED = re.compile(r"(<!-- result ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
# Name of a table -> model and title of a comparison.
COMPARISONS = {"builtin-4": ("builtin", "4 steps"), "builtin-20": ("builtin", "20 steps"), "sd15": ("sd15", "1 step")}


def make_plots() -> dict[Path, str]:
    """Return the figures of what was measured, by their files."""
    made = {}
    if found := results.task(*COMPARISONS["builtin-4"]):
        made["peers"] = figures.peers(found, figures.BUILTIN, "The built-in model at 256x256, 4 steps without guidance")
    if found := results.task(*COMPARISONS["sd15"]):
        made["peers-sd15"] = figures.peers(
            found, figures.LARGE, "Stable Diffusion 1.5 at 512x512, one step with guidance"
        )
    if "load" in (serving := results.read("serving")):
        made["serving"] = figures.serving(serving)
    if soak := results.read("soak"):
        made["memory"] = figures.memory(soak)
    return {IMAGES / f"{name}.svg": content for name, content in made.items()}


def make_page() -> str:
    """Return the page with its tables."""
    return MARKED.sub(lambda match: match[1] + _table(match[2]) + "\n" + match[3], PAGE.read_text("utf-8"))


def _table(name: str) -> str:
    if name == "goals":
        return goals()
    if name in COMPARISONS:
        found = results.task(*COMPARISONS[name])
        return tables.peers(found) if found else "Not measured yet."
    serving = results.read("serving")
    kinds: dict[str, tuple[str, Callable[..., str]]] = {
        "serving": ("load", tables.serving),
        "cancel": ("cancel", tables.cancelling),
        "gateways": ("gateways", tables.gateways),
    }
    part, make = kinds[name]
    return make(serving) if part in serving else "Not measured yet."


def main() -> None:
    """Write page and plots, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    made = make_plots() | {PAGE: make_page()}
    if args.check:
        stale = [path.name for path, content in made.items() if path.read_text("utf-8") != content]
        sys.exit(f"run `python bench/plots.py`: {', '.join(stale)}" if stale else 0)
    for path, content in made.items():
        path.write_text(content, "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
