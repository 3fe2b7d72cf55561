"""Files of an exported folder other than graphs: configurations, tokenizers, the scheduler, the index."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from .console import quiet

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

GRAPH = "model.onnx"
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
# Files of a tokenizer that the service reads: a vocabulary, and what was added to it.
TOKENIZER_FILES = (
    *("vocab.json", "merges.txt", "spiece.model", "tokenizer.model", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
INDEX = "model_index.json"
# Keys that describe the exporting machine or another tool: they are removed.
PRIVATE = ("_name_or_path", "export_model_type")


def write_companions(pipeline: Any, source: Path, folder: Path) -> None:
    """Write model_index.json, the tokenizers and scheduler/, which describes the training noise.

    Tokenizers are copied with the names of their classes from the folder `source`: transformers saves all as fast ones,
    without the vocabulary files that the service reads.
    """
    with quiet():
        pipeline.save_config(folder)
        write_scheduler_config(pipeline.scheduler, folder / "scheduler")
    tokenizers = [name for name in TOKENIZERS if getattr(pipeline, name, None) is not None]
    for name in tokenizers:
        _copy_tokenizer(source / name, folder / name)
    classes = _read(source / INDEX)
    _write(folder / INDEX, _read(folder / INDEX) | {name: classes[name] for name in tokenizers})
    _strip(folder / INDEX)


def write_scheduler_config(scheduler: Any, folder: Path) -> None:
    """Write scheduler_config.json with only the settings that its author wrote, without the defaults of the class.

    So without an explicit timestep spacing the spacing depends on the sampler, which each request chooses.
    """
    scheduler.save_pretrained(folder)
    _strip(folder / "scheduler_config.json", scheduler.config.get("_use_default_values", ()))


def _copy_tokenizer(source: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in (name for name in TOKENIZER_FILES if (source / name).exists()):
        shutil.copyfile(source / name, folder / name)


def save_config(module: Any, folder: Path) -> None:
    """Save a module's config.json by the method of diffusers or of transformers."""
    if hasattr(module, "save_config"):
        module.save_config(folder)
    else:
        module.config.save_pretrained(folder)
    _strip(folder / "config.json")


def _strip(path: Path, keys: Collection[str] = ()) -> None:
    _write(path, {key: value for key, value in _read(path).items() if key not in {*PRIVATE, *keys}})


def _read(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return settings


def _write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
