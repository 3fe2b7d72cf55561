"""What becomes of the images of a run: files, lines, a sheet, and images in the terminal."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UserError
from ..images.files import mime_type, save
from .outputs import Output, Place
from .report import Progress, describe, failure_json, image_json, shorten, summary
from .runner import SaveError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tintype.v1 import image_service_pb2 as pb

    from ..images.screen import Screen
    from ..images.sheet import Sheet
    from .prompts import Entry
    from .runner import Work

STDOUT = Path("-")


class Wanted(NamedTuple):
    """What a command line wants of the images; `output` None saves no single image, and - is stdout."""

    output: str | None
    overwrite: bool | None
    sheet: Sheet | None
    sheet_file: Path | None
    labels: bool
    screen: Screen | None
    json: bool
    quiet: bool


class Results:
    """Saves, describes and shows images as they are done, and says in the end how the run went."""

    def __init__(self, wanted: Wanted, works: Sequence[Work]) -> None:
        self._wanted = wanted
        self._total = sum(work.count for work in works)
        self._prompts = len(works)
        self._outputs: dict[str, Output] = {}
        self._progress = Progress(sys.stderr, [work.count for work in works], quiet=wanted.quiet)
        self._began = time.monotonic()
        self._images = self._ended = 0
        self.failures = 0
        for name in {work.entry.values["output"] or wanted.output for work in works}:
            self._output(name)

    def _output(self, name: str | None) -> Output | None:
        """Return where images go; None if they are not saved. Raises UserError if they could not be."""
        if name is None or Path(name) == STDOUT:
            return None
        if name not in self._outputs:
            self._outputs[name] = Output(name, prompts=self._prompts, overwrite=self._wanted.overwrite)
        return self._outputs[name]

    def event(self, index: int, event: pb.StreamImagesResponse) -> None:
        """Show the progress."""
        self._ended += event.HasField("completed")
        self._progress.show(index, event)

    def image(self, work: Work, request: pb.GenerateImagesRequest, image: pb.Image) -> None:
        """Save an image, and print and show it. Raises SaveError."""
        name = work.entry.values["output"] or self._wanted.output
        output = self._output(name)
        self._progress.clear()
        try:
            path = output.write(image, request.prompt, self._place(work)) if output else None
        except UserError as error:
            raise SaveError(str(error)) from error
        self._images += 1
        self._add_to_sheet(work, image)
        if name == str(STDOUT):
            sys.stdout.buffer.write(image.data)
            sys.stdout.buffer.flush()
            path = STDOUT
        self._print(work, request, image, path)
        if self._wanted.screen and path and not self._wanted.sheet:
            print(self._wanted.screen.show(image.data), end="", flush=True)

    def _place(self, work: Work) -> Place:
        return Place(work.index, work.before, self._total)

    def _print(self, work: Work, request: pb.GenerateImagesRequest, image: pb.Image, path: Path | None) -> None:
        """Print one line about an image: to stderr, if stdout has the image."""
        if self._wanted.json:
            print(image_json(image, path, request, work.index), file=sys.stderr if path == STDOUT else None, flush=True)
        elif path == STDOUT:
            sys.stderr.write("" if self._wanted.quiet else f"{describe(image, path)}\n")
        elif path is not None:
            print(describe(image, path, request.prompt if self._prompts > 1 else ""), flush=True)

    def _add_to_sheet(self, work: Work, image: pb.Image) -> None:
        sheet = self._wanted.sheet
        if sheet is None:
            return
        labels: list[str] = []
        if self._wanted.labels and not (sheet.column_labels or sheet.row_labels):
            labels = [shorten(work.entry.prompt), f"seed {image.seed}"]
        sheet.add(work.before + image.index, image.data, labels)

    def failed(self, work: Work, error: object) -> None:
        """Say that a prompt failed; the others go on."""
        self.failures += 1
        self._progress.clear()
        self._progress.show(work.index, None)
        self._progress.clear()
        place = work.entry.where or f"prompt {work.index + 1} ({shorten(work.entry.prompt)})"
        if self._wanted.json:
            print(failure_json(work.entry.prompt, work.index, str(error)), flush=True)
        sys.stderr.write(f"tintype: {place}: {' '.join(str(error).split())}\n")

    def finish(self) -> None:
        """Write the sheet, and say how the run went. Raises UserError if the sheet can't be written."""
        self._progress.clear()
        sheet, file = self._wanted.sheet, self._wanted.sheet_file
        if sheet and file and sheet.images:
            self._write_sheet(sheet, file)
        if self._prompts > 1 and not self._wanted.quiet:
            undone = self._prompts - self._ended - self.failures
            seconds = time.monotonic() - self._began
            sys.stderr.write(f"{summary(self._images, self._prompts, self.failures, undone, seconds)}\n")

    def _write_sheet(self, sheet: Sheet, file: Path) -> None:
        from ..images.sheet import encode_sheet  # noqa: PLC0415 - Pillow is needed only for a sheet

        drawn = sheet.draw()
        data = encode_sheet(drawn, mime_type(file))
        save(data, file)
        if not self._wanted.json:
            line = f"{file}: {drawn.width}x{drawn.height}, {len(sheet.images)} images"
            print(line, file=sys.stderr if self._wanted.output == str(STDOUT) else None, flush=True)
        if self._wanted.screen:
            print(self._wanted.screen.show(data), end="", flush=True)


def stdout_faults(output: str | None, works: Sequence[Work], entries: Sequence[Entry]) -> None:
    """Raise UserError unless there is one image for stdout, which is not a terminal."""
    names = {entry.values["output"] for entry in entries}
    if output != str(STDOUT) and str(STDOUT) not in names:
        return
    if len(works) > 1:
        raise UserError(f"-o - takes one image, not {len(works)} prompts; name files, for example -o {{index:03}}.png")
    if works[0].count > 1:
        raise UserError(f"-o - takes one image, not --count {works[0].count}; name a file, for example -o lake.png")
    if sys.stdout.isatty():
        raise UserError("-o - does not write an image to a terminal; redirect stdout, or name a file with -o")
