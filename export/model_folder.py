"""The folder of an export beside its weights: graphs' configurations, tokenizers, the training noise, the index."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from .errors import Refused
from .quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

GRAPH = "model.onnx"
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
# What serving reads of a tokenizer: the merges of CLIP, or the model of sentencepiece.
VOCABULARIES = ("merges.txt", "spiece.model", "tokenizer.model")
# Where the source lay, and what others noted for themselves: no business of who gets the folder.
PRIVATE = ("_name_or_path", "export_model_type")


def write_companions(pipeline: Any, folder: Path) -> None:
    """Write what is no graph: model_index.json, the tokenizers and the training noise (diffusers' scheduler/)."""
    with quiet():
        pipeline.save_config(folder)
        write_noise(pipeline.scheduler, folder / "scheduler")
        for name in TOKENIZERS:
            if getattr(pipeline, name, None) is not None:
                _save_tokenizer(getattr(pipeline, name), folder / name)
    _strip(folder / "model_index.json")


def write_noise(scheduler: Any, folder: Path) -> None:
    """Write scheduler_config.json with what its author has set, and no more.

    Which spacing of timesteps holds where none is set depends on the sampler, which each request chooses.
    """
    scheduler.save_pretrained(folder)
    _strip(folder / "scheduler_config.json", scheduler.config.get("_use_default_values", ()))


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer with the file that serving reads, which a fast one may have been read without."""
    tokenizer.save_pretrained(folder)
    if any((folder / name).exists() for name in VOCABULARIES):
        return
    file = getattr(tokenizer, "vocab_file", None)
    if not file:
        raise Refused(f"{folder.name} has none of {', '.join(VOCABULARIES)}: serving reads no tokenizer.json")
    shutil.copy(file, folder)


def save_config(module: Any, folder: Path) -> None:
    """Save a module's config.json as diffusers' modules do, or as those of transformers."""
    if hasattr(module, "save_config"):
        module.save_config(folder)
    else:
        module.config.save_pretrained(folder)
    _strip(folder / "config.json")


def _strip(path: Path, keys: Collection[str] = ()) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in {*PRIVATE, *keys}}
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
