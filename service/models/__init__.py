"""Models: reading their folders, loading them, and calling their graphs."""

from .model import Conditioning, Model, Prompt
from .residency.repository import Repository
from .residency.slot import ModelState, ModelStatus
from .spec import Defaults, LatentToRgb, ModelSpec, Preset

__all__ = [
    "Conditioning",
    "Defaults",
    "LatentToRgb",
    "Model",
    "ModelSpec",
    "ModelState",
    "ModelStatus",
    "Preset",
    "Prompt",
    "Repository",
]
