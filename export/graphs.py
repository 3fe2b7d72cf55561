"""Graphs by optimum's exporter, one component after the other, so that each can be told of and stored at once.

The exporter is the one of optimum-onnx, with torch's tracer and opset 18. Its own validation is not run: it fails on
graphs that are right, and `export.verify` compares more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from optimum.exporters.onnx import export
from optimum.exporters.tasks import TasksManager
from optimum.exporters.utils import get_diffusion_models_for_export

from .quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

OPSET = 18
GRAPH = "model.onnx"
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
# Where the source lay, and what optimum noted for itself: no business of who gets the folder.
PRIVATE = ("_name_or_path", "export_model_type")


def components(pipeline: Any) -> dict[str, tuple[Any, Any]]:
    """Return module and exporter's configuration of each graph to write, by its folder: the VAE makes two of them."""
    with quiet():
        TasksManager.standardize_model_attributes(pipeline)
        return dict(get_diffusion_models_for_export(pipeline))


def write_graph(component: tuple[Any, Any], folder: Path) -> Path:
    """Write a component's graph and its config.json to `folder`; return the path of the graph."""
    module, config = component
    path = folder / GRAPH
    folder.mkdir(parents=True)
    with quiet(), torch.no_grad():
        _save_config(module, folder)
        export(module, config, path, opset=OPSET)
    return path


def write_companions(pipeline: Any, folder: Path) -> None:
    """Write what is no graph: model_index.json, the tokenizers and the training noise (diffusers' scheduler/)."""
    with quiet():
        pipeline.save_config(folder)
        write_noise(pipeline.scheduler, folder / "scheduler")
        for name in TOKENIZERS:
            if getattr(pipeline, name, None) is not None:
                getattr(pipeline, name).save_pretrained(folder / name)
    _strip(folder / "model_index.json")


def write_noise(scheduler: Any, folder: Path) -> None:
    """Write scheduler_config.json with what its author has set, and no more.

    Which spacing of timesteps holds where none is set depends on the sampler, which each request chooses.
    """
    scheduler.save_pretrained(folder)
    _strip(folder / "scheduler_config.json", scheduler.config.get("_use_default_values", ()))


def _save_config(module: Any, folder: Path) -> None:
    """Save as diffusers' modules do, or as those of transformers."""
    if hasattr(module, "save_config"):
        module.save_config(folder)
    else:
        module.config.save_pretrained(folder)
    _strip(folder / "config.json")


def _strip(path: Path, keys: Collection[str] = ()) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in {*PRIVATE, *keys}}
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
