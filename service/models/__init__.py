"""Models: folders on disk, what they are, and how they become arrays in and arrays out."""

from .entry import State, Status
from .model import Conditioning, Model, Prompt
from .repository import Repository
from .spec import Defaults, LatentToRgb, ModelSpec, Preset

__all__ = [
    "Conditioning",
    "Defaults",
    "LatentToRgb",
    "Model",
    "ModelSpec",
    "Preset",
    "Prompt",
    "Repository",
    "State",
    "Status",
]
