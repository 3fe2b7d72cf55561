"""Results as JSON lines, which outlast a process that is killed, and as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    Record = dict[str, Any]

# Fields of a record that hold a figure, in the order of the text.
FORMATS = {
    "ms": "{:.3f} ms",
    "ratio": "{:.3f} of the first",
    "step_ms": "{:.3f} ms a step",
    "per_second": "{:.2f}/s",
    "in_calls": "{:.1%} in denoiser steps",
    "encoder_ms": "text encoders {:.1f} ms",
    "decoder_ms": "VAE {:.1f} ms",
    "change_ms": "{:+.3f} ms for a change of shape",
    "difference": "difference {:.1e}",
    "ready_s": "ready after {:.1f} s",
    "device_mib": "device memory {:.0f} MiB",
    "process_mib": "process {:.0f} MiB",
}


class Records:
    """A file that gets one JSON object a line; each is also printed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, section: str, subject: str = "", way: str = "", **fields: Any) -> None:
        """Write and print a result: figures of FORMATS, `note`, and `problem` if something did not work."""
        record = {"section": section, "subject": subject, "way": way, **fields}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{section:10} {subject:32} {way:12} {describe(record)}", flush=True)


def read(path: Path) -> list[Record]:
    """Return the latest record of each section, subject and way, in the order of the first ones."""
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return list({(each["section"], each["subject"], each["way"]): each for each in records}.values())


def describe(record: Record) -> str:
    """Return figures and notes of a record."""
    figures = [text.format(record[field]) for field, text in FORMATS.items() if field in record]
    return ", ".join([*figures, *(record[field] for field in ("note", "problem") if record.get(field))])


def table(records: Iterable[Record]) -> str:
    """Return a Markdown table."""
    rows = [(each["section"], each["subject"], each["way"], describe(each).replace("|", "/")) for each in records]
    lines = ("section", "of", "way", "result"), ("---",) * 4, *rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
