"""Fuse the graphs of a folder with onnxruntime's optimizer for transformers, as Olive and optimize_pipeline.py do."""

from __future__ import annotations

import logging
import shutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = {"text_encoder": "clip", "unet": "unet", "vae_decoder": "vae", "vae_encoder": "vae"}
# Fusions into operators that the CPU provider lacks.
FOR_GPU = (
    *("enable_nhwc_conv", "enable_group_norm", "enable_skip_group_norm", "enable_bias_splitgelu"),
    *("enable_packed_qkv", "enable_packed_kv", "enable_bias_add"),
)


def write_fused_folder(source: Path, folder: Path, *, gpu: bool, components: Sequence[str] = tuple(KINDS)) -> Path:
    """Write the ONNX folder `source` to `folder`, with the graphs of `components` fused and in float16.

    With `gpu`, fusions are made that only GPUs have kernels for.
    """
    shutil.copytree(source, folder, ignore=lambda path, names: names if Path(path).name in components else [])
    for component in components:
        model = _fused(source / component / "model.onnx", KINDS[component], gpu=gpu)
        model.convert_float_to_float16(keep_io_types=False)
        model.save_model_to_file(str(folder / component / "model.onnx"))
    return folder


def _fused(path: Path, kind: str, *, gpu: bool) -> Any:
    options = FusionOptions(kind)
    for name in FOR_GPU:
        setattr(options, name, gpu)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.root, "disabled", True)
        patch.setenv("TQDM_DISABLE", "1")
        patch.setattr(_attention_fusion(), "get_num_heads", _num_heads)
        return optimizer.optimize_model(
            str(path), model_type=kind, opt_level=0, optimization_options=options, use_gpu=gpu
        )


def _attention_fusion() -> Any:
    """Return the optimizer's class; onnxruntime puts its folder on sys.path."""
    return import_module("fusion_attention_unet").FusionAttentionUnet


def _num_heads(fusion: Any, reshape: Any, is_torch2: bool = False) -> int:  # noqa: FBT001, FBT002 - the optimizer's
    """Return the number of heads, as the optimizer's own function does that fails with NumPy 2.4 and later."""
    if not is_torch2:
        shape = fusion.model.get_constant_value(reshape.input[1])
        return int(shape[2]) if isinstance(shape, np.ndarray) and shape.shape == (4,) else 0
    concat = fusion.model.get_parent(reshape, 1)
    known = concat is not None and concat.op_type == "Concat" and len(concat.input) == 4
    heads = fusion.model.get_constant_value(concat.input[2]) if known else None
    return 0 if heads is None else int(np.asarray(heads).reshape(-1)[0])
