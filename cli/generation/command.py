"""`tintype generate`: make images from prompts, with a running service or a model in this process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .. import interrupt
from ..errors import USER_ERROR, UserError
from ..images.files import mime_type, prepare_folder
from ..images.inputs import STDIN
from ..settings.sources import Sources, warn_of_unknown_variables
from ..settings.values import parse_path
from . import runner
from .flags import DEFAULT_OUTPUT
from .local import is_remote, is_source, local_service, service_connection
from .prompts import read_prompts, single_words
from .results import Results, Wanted, stdout_faults
from .variation import NO_AXIS, Axis, parse_axis, vary

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from tintype.service.config import ServiceConfig

    from ..images.screen import Screen
    from ..images.sheet import Sheet
    from .prompts import Entry
    from .runner import Work

MAX_JOBS = 64
MAX_SHOWN = 4  # images of a run that --show auto shows


def run(arguments: Namespace) -> int:
    """Make the images, save them, and print the name of each file; 2 if a prompt of several failed."""
    warn_of_unknown_variables()
    sources = Sources.gather(vars(arguments))
    if arguments.model == "":
        raise UserError("--model must not be empty")
    jobs, axes = _parse_jobs(arguments.jobs), (parse_axis("x", arguments.x), parse_axis("y", arguments.y))
    entries = vary(read_prompts(vars(arguments)), *axes)
    works = runner.check(entries)
    _check_models(arguments, entries)
    results = Results(_wanted(arguments, works, axes), works)
    models, local = {}, None
    if not is_remote(arguments):
        local, models[arguments.model or ""] = local_service(sources, arguments.model or "")
    _warn_of_words(arguments.prompt)
    try:
        interrupt.run(_generate(sources, local, works, models, jobs, results))
    finally:
        results.finish()
    return USER_ERROR if results.failures else 0


async def _generate(
    sources: Sources,
    local: ServiceConfig | None,
    works: Sequence[Work],
    models: dict[str, str],
    jobs: int,
    results: Results,
) -> None:
    async with service_connection(sources, local) as service:
        await runner.run(service, works, models, jobs, results)


def _parse_jobs(text: str) -> int:
    """Return the value of --jobs. Raises UserError."""
    if not (text.isdecimal() and text.isascii() and len(text) < 4 and 1 <= int(text) <= MAX_JOBS):
        raise UserError(f"--jobs must be 1 to {MAX_JOBS}; got {text!r}")
    return int(text)


def _warn_of_words(prompts: Sequence[str]) -> None:
    """Say that several words without quotes are several prompts."""
    if single_words(prompts) and STDIN not in prompts:
        quoted = " ".join(prompts)
        sys.stderr.write(f'tintype: {len(prompts)} prompts of one word each; one prompt has quotes: "{quoted[:80]}"\n')


def _check_models(arguments: Namespace, entries: Sequence[Entry]) -> None:
    """Raise UserError if a line names a model that would have to be loaded as a further one."""
    for entry in entries:
        model = entry.values["model"] or ""
        if model != (arguments.model or "") and not is_remote(arguments) and is_source(model):
            raise UserError(entry.explain(f"a model of a line is a name; got {model!r}; load it with --model"))


def _wanted(arguments: Namespace, works: Sequence[Work], axes: tuple[Axis, Axis]) -> Wanted:
    """Return what the flags want of the images. Raises UserError."""
    sheet = _sheet(arguments, works, axes)
    output = arguments.output or (None if sheet else DEFAULT_OUTPUT)
    stdout_faults(output, works, [work.entry for work in works])
    sheet_file = parse_path(arguments.grid) if sheet else None
    if sheet_file:
        mime_type(sheet_file)
        prepare_folder(sheet_file)
    screen = _screen(arguments, sum(work.count for work in works), has_sheet=sheet is not None)
    return Wanted(
        output=output,
        overwrite=arguments.overwrite,
        sheet=sheet,
        sheet_file=sheet_file,
        labels=arguments.labels,
        screen=screen,
        json=arguments.json,
        quiet=arguments.quiet,
    )


def _sheet(arguments: Namespace, works: Sequence[Work], axes: tuple[Axis, Axis]) -> Sheet | None:
    """Return the empty sheet that --grid, --x and --y describe. Raises UserError."""
    x, y = axes
    varied = x != NO_AXIS or y != NO_AXIS
    if not arguments.grid:
        if varied:
            raise UserError("--x and --y need --grid FILE, the sheet of their images")
        return None
    from ..images.sheet import Sheet  # noqa: PLC0415 - Pillow is needed only for a sheet

    count = sum(work.count for work in works)
    if not varied:
        return Sheet.nearly_square(count)
    columns, rows = (axis.labels if arguments.labels and axis != NO_AXIS else [] for axis in axes)
    return Sheet(count, len(x.values), columns, rows)


def _screen(arguments: Namespace, images: int, *, has_sheet: bool) -> Screen | None:
    """Return the terminal that shows the images; None if it shows none. Raises UserError."""
    way, to_stdout = arguments.show, arguments.output == "-"
    if way not in ("auto", "none") and (to_stdout or arguments.json):
        raise UserError(f"--show {way} writes to stdout, as {'-o -' if to_stdout else '--json'} does; choose one")
    many = images > MAX_SHOWN and not has_sheet
    if way == "none" or (way == "auto" and (many or to_stdout or arguments.json or arguments.quiet)):
        return None
    from ..images.detection import find_screen  # noqa: PLC0415 - numpy and Pillow are needed only for a terminal

    return find_screen(way)
