"""Values that the rows of several families share."""

from __future__ import annotations

from ..family import DenoiserSpec

TRANSFORMER = DenoiserSpec(folder="transformer", latents="hidden_states", out="out_hidden_states")
IMAGE_TASKS = ("", "Img2Img", "Inpaint")


def pipelines(*stems: str, tasks: tuple[str, ...] = IMAGE_TASKS) -> tuple[str, ...]:
    """Return diffusers' class names of the pipelines of one kind of model, one for each task."""
    return tuple(f"{stem}{task}Pipeline" for stem in stems for task in tasks)


def clean_caption(text: str) -> str:
    """Return a text trimmed and in lower case, like diffusers' cleaning of captions without its HTML parser."""
    return text.lower().strip()
