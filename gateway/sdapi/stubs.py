"""Paths that clients ask for, and whose honest answer is that there is nothing: a list, an object, or null."""

from __future__ import annotations

from typing import Any

_NOWHERE = {"error": "the gateway does not see the memory of the machine that makes the pictures"}

GET: dict[str, Any] = {
    "cmd-flags": {"api": True, "nowebui": True},
    "extensions": [],
    "face-restorers": [],
    "hypernetworks": [],
    "latent-upscale-modes": [],
    "memory": {"ram": _NOWHERE, "cuda": _NOWHERE},
    "prompt-styles": [],
    "realesrgan-models": [],
    "script-info": [],
    "scripts": {"txt2img": [], "img2img": []},
    "sd-vae": [],
}
POST: dict[str, Any] = {
    "refresh-checkpoints": None,
    "refresh-embeddings": None,
    "refresh-loras": None,
    "refresh-vae": None,
}
# Clients ask for these to free memory, or to load a model: only admin keys may.
ADMIN: dict[str, Any] = {"reload-checkpoint": {}, "unload-checkpoint": {}}
