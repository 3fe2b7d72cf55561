"""Checks of a job against the capabilities of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InvalidField, Unsupported
from .models.adapters.embeddings import pickle_advice
from .models.spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .job import Job
    from .models.spec import ModelSpec

# Fields of a job, and the capabilities of a model of which each field needs one.
REQUIRED_CAPABILITIES = {"image": {IMAGE_TO_IMAGE, INPAINTING}, "mask": {INPAINTING}}


def check_supported(job: Job, spec: ModelSpec) -> None:
    """Raise InvalidField or Unsupported for a field that the model does not support."""
    for lora in job.loras:
        if lora.name not in spec.loras:
            known = f"its adapters are {', '.join(spec.loras)}" if spec.loras else "it has no adapters"
            raise InvalidField("loras", f"{lora.name!r} is not an adapter of model {spec.name!r}: {known}")
    for name in job.embeddings:
        if name not in spec.embeddings:
            known = f"its embeddings are {', '.join(spec.embeddings)}" if spec.embeddings else "it has no embeddings"
            reason = pickle_advice(name, spec.pickled) or f"it is not an embedding of model {spec.name!r}: {known}"
            raise InvalidField("embeddings", f"{name!r} cannot be used: {reason}")
    _check_names("controls", "ControlNet", (each.name for each in job.controls), spec.controls, spec.name)
    _check_modes(job, spec)
    prompts = (each.name for each in job.image_prompts)
    _check_names("image_prompts", "IP-Adapter", prompts, spec.image_adapters, spec.name)
    for name, capabilities in REQUIRED_CAPABILITIES.items():
        if getattr(job, name) and not capabilities & spec.capabilities:
            raise Unsupported(name, f"model {spec.name!r} does not support it: {_missing_capability(spec)}")
    _check_references(job, spec)
    from_text = not (job.image or job.source or job.references or job.edited)
    if from_text and TEXT_TO_IMAGE not in spec.capabilities:
        raise InvalidField("image", f"is required: model {spec.name!r} does not generate images from text alone")
    if spec.inpaints and not job.mask and (job.source is None or job.source.repaint is None):
        raise InvalidField("mask", f"is required: model {spec.name!r} only repaints parts of images")


def _check_names(field: str, what: str, names: Iterable[str], known: Sequence[str], model: str) -> None:
    """Raise InvalidField for a name that is not among the model's own."""
    article = "an" if what[0] in "AEIOU" else "a"
    for place, name in enumerate(names):
        if name not in known:
            own = f"its {what}s are {', '.join(known)}" if known else f"it has no {what}s"
            raise InvalidField(f"{field}[{place}].name", f"{name!r} is not {article} {what} of model {model!r}: {own}")


def _check_modes(job: Job, spec: ModelSpec) -> None:
    """Raise InvalidField for a kind of control that a ControlNet does not have."""
    for place, control in enumerate(job.controls):
        count = spec.control_modes.get(control.name, 1)
        if control.mode >= count:
            valid = f"0 to {count - 1}" if count > 1 else "0, since it has one kind only"
            problem = f"with ControlNet {control.name!r} must be {valid}; got {control.mode}"
            raise InvalidField(f"controls[{place}].mode", problem)


def _missing_capability(spec: ModelSpec) -> str:
    """Return why a model cannot start from an image."""
    return "it edits images; send them as references" if spec.references else "it has no image encoder (vae_encoder)"


def _is_edited(job: Job, spec: ModelSpec) -> bool:
    """Return whether the image of a prepared job, which has a mask, is one of the images to edit."""
    repaints = job.source is not None and job.source.repaint is not None
    return bool(spec.references and spec.references.masked and repaints and job.edited)


def _check_references(job: Job, spec: ModelSpec) -> None:
    """Raise InvalidField if the number of images to edit does not suit the model."""
    count = max(len(job.references), len(job.edited) - _is_edited(job, spec))
    if count > spec.max_references:
        takes = f"takes at most {spec.max_references}, not {count}" if spec.max_references else "takes none"
        raise InvalidField("references", f"model {spec.name!r} {takes}")
    if not count and spec.references and spec.references.required:
        raise InvalidField("references", f"is required: model {spec.name!r} edits images")
