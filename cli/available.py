"""`tintype models available`: published models to try, with licence, size, memory, steps and use."""

from __future__ import annotations

import textwrap
from difflib import get_close_matches
from typing import TYPE_CHECKING

from .errors import UserError
from .published import FULL, HALF, PUBLISHED, PublishedModel
from .settings.values import format_size
from .terminal import format_table

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS, PICKLES = ".safetensors", (".ckpt", ".pt", ".pth", ".bin")
HEADINGS = ("MODEL", "LICENCE", "DOWNLOAD", "CPU", "GPU", "STEPS", "SIZE", "FOR")
WIDE = 1000  # characters; wider than the table
FOOTER = """
CPU and GPU: memory for an image of that size, in float32 and in float16, calculated from the number of parameters
  and the working memory of the VAE.
* gated: accept the terms on its page, and set HF_TOKEN. Licences apply to you: read them on the model's page.
`tintype models available NAME` shows how to start one."""


def overview(width: int = WIDE) -> str:
    """Return all models as a table; two lines for each, wrapped, if the table is wider than `width` characters."""
    rows = [HEADINGS, *map(_row, PUBLISHED)]
    table = format_table(rows)
    if max(map(len, table.splitlines())) <= width:
        return table + "\n" + FOOTER
    titles = (_wrap(f"{row[0]}: {row[-1]}", width, "    ") for row in rows)
    details = format_table([("", *row[1:-1]) for row in rows]).splitlines()
    lines = [line for pair in zip(titles, details, strict=True) for line in pair]
    return "\n".join([*lines, *(_wrap(line, width, "  ") for line in FOOTER.splitlines())])


def _wrap(text: str, width: int, indent: str) -> str:
    """Return text in lines of at most `width` characters; names are not divided."""
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _row(model: PublishedModel) -> tuple[str, ...]:
    memory = [format_size(model.memory_bytes(each, model.side)) for each in (FULL, HALF)]
    return (
        model.id + "*" * model.gated,
        model.license,
        format_size(model.download_bytes),
        *memory,
        str(model.steps or "-"),
        str(model.side or "-"),
        model.purpose,
    )


def describe(name: str) -> str:
    """Return the details of one model, by its id or its name, and the commands that start it. Raises UserError."""
    model = _find(name)
    lines = [f"{model.id}: {model.purpose}", f"  licence    {model.license}"]
    lines += [f"  page       https://huggingface.co/{model.id}", f"  download   {format_size(model.download_bytes)}"]
    if not model.replaces_vae:
        lines += [f"  made for   {model.steps} steps, {model.side}x{model.side} pixels", *_memory(model)]
    lines += [f"  note       {model.note}"] if model.note else []
    return "\n".join([*lines, "", *_commands(model)])


def _memory(model: PublishedModel) -> list[str]:
    def amounts(bytes_each: int) -> str:
        return ", ".join(
            f"{format_size(model.memory_bytes(bytes_each, side))} at {side}x{side}" for side in (512, 1024)
        )

    calculated = "calculated from the number of parameters"
    return [
        f"  CPU        {amounts(FULL)}, in float32 ({calculated})",
        f"  GPU        {amounts(HALF)}, in float16 ({calculated})",
        "  less       --precision int8 stores linear layers in 0.27 of float32's memory",
    ]


def _commands(model: PublishedModel) -> list[str]:
    """Return the commands to paste."""
    terms = f"Accept its terms at https://huggingface.co/{model.id}, then run `export HF_TOKEN=hf_...` and:"
    start = f"--model {model.replaces_vae} --vae {model.id}" if model.replaces_vae else f"--model {model.id}"
    head = [terms, ""] if model.gated else []
    return [*head, f"  tintype pull {model.id}", f"  tintype up {start}"]


def check_missing(path: Path) -> None:
    """Raise UserError if a path that does not exist is probably meant as a model of the hub, or is a pickle."""
    if path.suffix in PICKLES:
        advice = f"name the {WEIGHTS} file of the repository, as OWNER/NAME/FILE{WEIGHTS}"
        raise UserError(f"there is no file {path}, and {path.suffix} files are pickles, which are not read; {advice}")
    known = same_name(path.name) if path.absolute().parent == path.cwd() else ""
    if known:
        raise UserError(f"there is no folder or file {path}; did you mean {known}?")


def same_name(name: str) -> str:
    """Return the id of the listed model with this name, empty if there is none."""
    return next((model.id for model in PUBLISHED if model.name.lower() == name.lower()), "")


def _find(name: str) -> PublishedModel:
    known = {key: model for model in PUBLISHED for key in (model.id.lower(), model.name.lower())}
    if name.lower() in known:
        return known[name.lower()]
    parts = [model.name for model in PUBLISHED if name.lower() in model.id.lower()]
    close = parts or [known[key].name for key in get_close_matches(name.lower(), known, 1)]
    hint = f"did you mean {' or '.join(close)}?" if close else "`tintype models available` lists all."
    raise UserError(f"{name!r} is not in the list; {hint} Other models on the hub can be served too")
