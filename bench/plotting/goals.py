"""The table of goals, each beside what was measured last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from . import results
from .tables import MISSING, number, table, with_range

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNMEASURED = "not measured: no GPU"
BUILTIN, SD15 = ("builtin", "4 steps"), ("sd15", "1 step")


class Goal(NamedTuple):
    """A row: what is measured, the goal, the script, and a function that returns what was measured."""

    what: str
    goal: str
    script: str
    measured: Callable[[], str]


def goals() -> str:
    """Return the table."""
    rows = [(goal.what, goal.goal, goal.measured(), goal.script) for goal in GOALS]
    return table(("what", "goal", "measured", "script"), rows)


def _own(name: str) -> Callable[[], str]:
    """Return the text of a goal that bench/goals.py has measured."""
    return lambda: str(results.read("goals").get(name, MISSING))


def _ratio(place: tuple[str, str], side: str, measures: Sequence[results.Measure]) -> Callable[[], str]:
    """Return a function that gives the ratio of tintype to a side for each measure."""

    def text() -> str:
        found: dict[str, Any] | None = results.task(*place)
        if found is None or not any(results.has(measure, found) for measure in measures):
            return MISSING
        return "; ".join(with_range(results.ratio(found, results.OURS, measure, side)) for measure in measures)

    return text


def _soak() -> str:
    runs = results.read("soak").get("runs", ())
    return ", ".join(f"{run['memory'][-1] / run['memory'][0]:.3f}" for run in runs) or MISSING


def _gateway() -> str:
    rates = results.read("goals").get("gateway")
    return f"{number(rates['small, b64_json'])}; {number(rates['10 x 1.5 MB, b64_json'])}" if rates else MISSING


GOALS = (
    Goal(
        "REST request to bytes ÷ bare calls of onnxruntime (built-in model, 20 steps, one thread)",
        "≤ 1.05",
        "goals.py",
        _own("rest"),
    ),
    Goal("engine's own work between two calls", "≤ 3 %", "engine_gap.py", _own("engine")),
    Goal(
        "start to first image ÷ optimum's: built-in model",
        "≤ 0.14",
        "peers.py",
        _ratio(BUILTIN, "optimum", (results.FIRST,)),
    ),
    Goal("the same, SD 1.5's size", "≤ 0.33", "peers.py", _ratio(SD15, "optimum", (results.FIRST,))),
    Goal(
        "anonymous memory ÷ optimum's: built-in model",
        "≤ 0.17",
        "peers.py",
        _ratio(BUILTIN, "optimum", (results.ANONYMOUS,)),
    ),
    Goal(
        "images per second ÷ optimum's: one, four, eight callers",
        "≥ 1.05",
        "peers.py",
        _ratio(BUILTIN, "optimum", results.CALLERS),
    ),
    Goal(
        "SD 1.5, CPU s of an image of one step ÷ diffusers on torch",
        "≤ 0.42",
        "peers.py",
        _ratio(SD15, "diffusers", (results.FIRST_IMAGE_CPU,)),
    ),
    Goal("the same ÷ OpenVINO", "≤ 1.0", "peers.py", _ratio(SD15, "OpenVINO GenAI", (results.FIRST_IMAGE_CPU,))),
    Goal(
        "the same ÷ stable-diffusion.cpp (float32)",
        "≤ 0.17",
        "peers.py",
        _ratio(SD15, "stable-diffusion.cpp", (results.FIRST_IMAGE_CPU,)),
    ),
    Goal("mean latency of a mixed load ÷ first come, first served", "≤ 0.25", "mixed_load.py", _own("mixed load")),
    Goal("gateway, one worker: small requests per second; with 10 x 1.5 MB", "4,950; 42", "gateway.py", _gateway),
    Goal("memory after 1,000 mixed requests ÷ after 100", "≤ 1.03", "soak.py", _soak),
    Goal(
        "share of a few-step request on a GPU outside the kernels of denoiser and decoder",
        "≤ 3 %",
        "gpu.py",
        lambda: UNMEASURED,
    ),
)
