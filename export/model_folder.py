"""Files of an exported folder other than graphs: configurations, tokenizers, the scheduler, the index."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from .console import quiet
from .errors import ExportRefusal

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

GRAPH = "model.onnx"
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
# Vocabulary files that the service reads: CLIP's merges, or a sentencepiece model.
VOCABULARIES = ("merges.txt", "spiece.model", "tokenizer.model")
# Keys that describe the exporting machine or another tool: they are removed.
PRIVATE = ("_name_or_path", "export_model_type")


def write_companions(pipeline: Any, folder: Path) -> None:
    """Write model_index.json, the tokenizers and scheduler/, which describes the training noise."""
    with quiet():
        pipeline.save_config(folder)
        write_scheduler_config(pipeline.scheduler, folder / "scheduler")
        for name in TOKENIZERS:
            if getattr(pipeline, name, None) is not None:
                _save_tokenizer(getattr(pipeline, name), folder / name)
    _strip(folder / "model_index.json")


def write_scheduler_config(scheduler: Any, folder: Path) -> None:
    """Write scheduler_config.json with only the settings that its author wrote, without the defaults of the class.

    So without an explicit timestep spacing the spacing depends on the sampler, which each request chooses.
    """
    scheduler.save_pretrained(folder)
    _strip(folder / "scheduler_config.json", scheduler.config.get("_use_default_values", ()))


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer with the vocabulary file that the service reads, which fast tokenizers may not save."""
    tokenizer.save_pretrained(folder)
    if any((folder / name).exists() for name in VOCABULARIES):
        return
    file = getattr(tokenizer, "vocab_file", None)
    if not file:
        raise ExportRefusal(
            f"{folder.name} has none of {', '.join(VOCABULARIES)}: the service does not read tokenizer.json"
        )
    shutil.copy(file, folder)


def save_config(module: Any, folder: Path) -> None:
    """Save a module's config.json by the method of diffusers or of transformers."""
    if hasattr(module, "save_config"):
        module.save_config(folder)
    else:
        module.config.save_pretrained(folder)
    _strip(folder / "config.json")


def _strip(path: Path, keys: Collection[str] = ()) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in {*PRIVATE, *keys}}
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
