"""The figures of a bench as a table for people, which can be pasted into an issue, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..settings.values import format_size
from ..terminal import format_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..doctor.findings import Finding
    from .figures import Figures, Samples, StepFigures

NONE = "-"


def format_seconds(seconds: float) -> str:
    """Return a duration with three digits, in milliseconds below a second."""
    if abs(seconds) < 1:
        value = seconds * 1000
        return f"{value:.0f} ms" if abs(value) >= 100 else f"{value:.{1 if abs(value) >= 10 else 2}f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"


def format_samples(samples: Samples) -> str:
    """Return median and range: `91.0 ms (88.2 ms to 99.1 ms, 40)`."""
    if not samples.values:
        return NONE
    if len(samples.values) == 1:
        return format_seconds(samples.median)
    least, most = format_seconds(min(samples.values)), format_seconds(max(samples.values))
    return f"{format_seconds(samples.median)} ({least} to {most}, {len(samples.values)})"


def format_report(figures: Figures, findings: Sequence[Finding]) -> str:
    """Return all figures as text."""
    head = [("machine", _machine(findings, figures)), ("software", _software(findings)), ("model", _model(figures))]
    parts = [format_table([*head])]
    start = [(title, format_samples(samples)) for title, samples in _start(figures)]
    start += [(title, format_size(size)) for title, size in _memory(figures)]
    parts += [format_table([("", "median (range, number)"), *start])] if start else []
    if rows := _rows(figures.by_steps):
        parts.append(format_table([("", *(f"{found.steps} steps" for found in figures.by_steps)), *rows]))
    parts += ["\n".join(f"- {note}" for note in figures.notes)] if figures.notes else []
    return "\n\n".join(parts)


def _machine(findings: Sequence[Finding], figures: Figures) -> str:
    found = {finding.name: finding for finding in findings}
    limit = found["limit"].value
    memory = found["limit"].text if limit else found["memory"].text
    cores = f"{found['cores'].value} cores"
    load = "" if figures.load_average is None else f", load {figures.load_average:.1f} before"
    return f"{found['processor'].value}, {cores}, {memory}{load}"


def _software(findings: Sequence[Finding]) -> str:
    found = {finding.name: finding for finding in findings}
    python = f"Python {found['python'].value}"
    return ", ".join(
        [f"tintype {found['tintype'].value}", found["onnxruntime"].text, python, str(found["system"].value)]
    )


def _model(figures: Figures) -> str:
    parts = [figures.model, figures.where, figures.provider, figures.precision, figures.size]
    return ", ".join(part for part in parts if part)


def _start(figures: Figures) -> Iterable[tuple[str, Samples]]:
    rows = (
        ("imports of the service", figures.imports),
        ("start to ready", figures.ready),
        ("load of the model", figures.load),
        ("first image", figures.first),
    )
    return [(title, samples) for title, samples in rows if samples.values]


def _memory(figures: Figures) -> list[tuple[str, int]]:
    rows = (("peak memory, service", figures.service_memory), ("peak memory, gateway", figures.gateway_memory))
    return [(title, size) for title, size in rows if size]


def _rows(by_steps: Sequence[StepFigures]) -> list[tuple[str, ...]]:
    """Return the rows of what was measured with each number of steps."""
    quantities: tuple[tuple[str, Callable[[StepFigures], str]], ...] = (
        ("image, 1 caller", lambda found: format_samples(found.image)),
        ("  a step", lambda found: format_samples(found.step)),
        ("  outside encoder, steps and decoder", lambda found: format_samples(found.outside)),
        ("  CPU time", lambda found: format_samples(found.cpu)),
        ("  added by the gateway", lambda found: format_samples(found.through_gateway)),
        *((f"images/s, {number} caller{'s' * (number > 1)}", _rate(number)) for number in _numbers(by_steps)),
    )
    rows = [(title, *(text(found) for found in by_steps)) for title, text in quantities]
    return [row for row in rows if set(row[1:]) != {NONE}]


def _numbers(by_steps: Sequence[StepFigures]) -> list[int]:
    return sorted({number for found in by_steps for number in found.rates})


def _rate(number: int) -> Callable[[StepFigures], str]:
    def text(found: StepFigures) -> str:
        rate = found.rates.get(number)
        return f"{rate.per_second:.3g} ({rate.images} in {rate.seconds:.1f} s)" if rate else NONE

    return text


def format_figures(figures: Figures, findings: Sequence[Finding]) -> str:
    """Return all figures as one JSON object; times are in seconds, sizes in bytes."""
    content: dict[str, Any] = {name: value for name, value in asdict(figures).items() if name != "by_steps"}
    content |= {name: getattr(figures, name).json for name in ("imports", "ready", "load", "first")}
    names = ("image", "step", "outside", "cpu", "through_gateway")
    content["by_steps"] = [
        {"steps": found.steps}
        | {name: getattr(found, name).json for name in names}
        | {"images_per_second": {str(number): rate.per_second for number, rate in found.rates.items()}}
        for found in figures.by_steps
    ]
    content["machine"] = {finding.name.replace(" ", "_"): finding.value for finding in findings}
    return json.dumps(content, indent=2, ensure_ascii=False)
