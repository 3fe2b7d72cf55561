"""Models as the web UI's clients see them: checkpoints, of which one is chosen for all requests that name none.

The choice is in memory, for each key where keys are needed, else one for everybody; after a restart it is the default
model again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..access.model_names import OPENAI, Names
from ..errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tintype.v1 import image_service_pb2 as pb


# What the web UI puts after a name: the file's ending, and the beginning of its hash in brackets.
_HASH = re.compile(r"[0-9a-f]{4,64}\]", re.IGNORECASE)
ENDINGS = ("safetensors", "ckpt", "onnx")


class Checkpoints:
    """The models by the names that clients use, and which one is chosen."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._chosen: dict[str, str] = {}

    def choose(self, owner: str, model: pb.Model) -> None:
        """Take a model for the following requests of `owner`, the key's name."""
        self._chosen[owner] = model.name

    def current(self, owner: str, models: Sequence[pb.Model]) -> pb.Model:
        """Return the model that is chosen, or the default one. Raises ServiceError where there is none at all."""
        chosen = self._chosen.get(owner)
        return next((model for model in models if model.name == chosen), None) or self._default(models)

    def find(self, name: str, models: Sequence[pb.Model]) -> pb.Model | None:
        """Return the model of a name, written as it may be; None where there is none."""
        name = _bare(name)
        wanted = self._names.resolve(name)
        by_name = {model.name.lower(): model for model in models}
        found = by_name.get(wanted.lower()) if wanted else self._default(models)
        return self._default(models) if found is None and wanted.startswith(OPENAI) else found

    def _default(self, models: Sequence[pb.Model]) -> pb.Model:
        if not models:
            raise ServiceError("The image service has no model.", status=503, reason="NO_MODEL")
        return next((model for model in models if model.name == self._names.default), models[0])


def _bare(name: str) -> str:
    """Return a name without the file's ending and the hash."""
    head, bracket, behind = name.strip().rpartition("[")
    name = head.rstrip() if bracket and _HASH.fullmatch(behind) else name.strip()
    stem, dot, ending = name.rpartition(".")
    return stem if dot and ending.lower() in ENDINGS else name


def listed(models: Sequence[pb.Model]) -> list[dict[str, Any]]:
    """Return models as `GET /sd-models` lists them: one name for everything that clients may send back."""
    named = ({"title": model.name, "model_name": model.name, "filename": model.name} for model in models)
    return [one | {"hash": None, "sha256": None, "config": None} for one in named]


def options(model: pb.Model) -> dict[str, Any]:
    """Return the settings as `GET /options` has them; the model is the only one that can be changed."""
    return {
        "sd_model_checkpoint": model.name,
        "sd_checkpoint_hash": "",
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
        "samples_format": "png",
        "samples_save": False,
        "grid_save": False,
        "return_grid": False,
        "enable_pnginfo": True,
        "jpeg_quality": 95,
        "inpainting_mask_weight": 1.0,
        "initial_noise_multiplier": 1.0,
        "img2img_fix_steps": False,
        "eta_ddim": 0.0,
        "eta_ancestral": 1.0,
        "eta_noise_seed_delta": 0,
        "live_previews_enable": True,
        "live_previews_image_format": "png",
    }
