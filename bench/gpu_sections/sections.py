"""The table of sections, in the order of what they say, and how a process runs one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .context import Context


ARCHITECTURES = ("sdxl-unet", "sd1-unet")  # the most telling first
QUICK_ARCHITECTURES = ("taesd-decoder",)


class Section(NamedTuple):
    """A section: its module, and the seconds that it may take at most and needs at least."""

    module: str
    most: float
    least: float = 3.0


SECTIONS = {
    "machine": Section("machine", 60),
    "agreement": Section("agreement", 90),
    "calls": Section("calls", 60),
    "shapes": Section("shapes", 60),
    "denoisers": Section("denoisers", 200),
    "images": Section("images", 120),
    "tensorrt": Section("tensorrt", 300),
}
"""Sections by name, in their order. `denoisers` is a process for each architecture."""


def run(name: str, context: Context) -> None:
    """Run a section in this process."""
    import_module(f".{SECTIONS[name].module}", __package__).run(context)
