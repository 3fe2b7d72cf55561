"""What providers are told, by the settings alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tintype.service.models.graph import Port
from tintype.service.models.tuning import Tuning, cuda_options, engine_name, tensorrt_options

PORTS = [
    Port("sample", "tensor(float16)", ("batch", 4, "h", "w")),
    Port("timestep", "tensor(float)", ("batch",)),
    Port("img_ids", "tensor(int64)", ("tokens", 3)),
    Port("scale", "tensor(float)", ()),
    Port("lora.A", "tensor(float)", ("batch", 8, "rank")),
]
SHAPES: dict[str, tuple[int, ...]] = {
    "sample": (2, 4, 64, 96),
    "timestep": (2,),
    "img_ids": (1536, 3),
    "scale": (),
}


def test_cuda_captures_only_when_told() -> None:
    """Nothing else is set; beside TensorRT, and on other providers, nothing is captured."""
    assert cuda_options(graphs=False) == {}
    assert cuda_options(graphs=True) == {"enable_cuda_graph": "1"}
    assert Tuning(cuda_graphs=True).captures("cuda")
    assert not any(Tuning(cuda_graphs=True).captures(name) for name in ("tensorrt", "cpu", "directml"))
    assert not Tuning().captures("cuda")


def test_callers_see_what_is_on() -> None:
    """What a provider was told beside its defaults, without places on this machine."""
    told = Tuning(cuda_graphs=True, engines=Path("/secret"))
    assert told.shown("cuda") == {"cuda_graphs": "on"}
    assert told.shown("tensorrt") == {"engine_cache": "on"}
    assert told.shown("cpu") == Tuning().shown("cuda") == {}


def test_an_engine_takes_any_number_of_rows_of_one_shape() -> None:
    """What is fed has a profile from one row to the widest call, fixed in all other axes, and best where it is used."""
    options = tensorrt_options(PORTS, SHAPES, Path("/cache/unet-1"))
    assert options["trt_profile_min_shapes"] == "sample:1x4x64x96,timestep:1,img_ids:1536x3"
    assert options["trt_profile_opt_shapes"] == "sample:2x4x64x96,timestep:2,img_ids:1536x3"
    assert options["trt_profile_max_shapes"] == "sample:8x4x64x96,timestep:8,img_ids:1536x3"


def test_engines_are_kept_apart_and_timings_together() -> None:
    """Each engine has its folder; what was learnt about kernels serves all. Half precision where the graph has it."""
    options = tensorrt_options(PORTS, SHAPES, Path("/cache/unet-1"))
    assert (options["trt_engine_cache_path"], options["trt_timing_cache_path"]) == ("/cache/unet-1", "/cache")
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_fp16_enable"] == "1"
    assert tensorrt_options(PORTS[1:], SHAPES, Path("/cache/unet-1"))["trt_fp16_enable"] == "0"


def test_an_engine_is_of_these_files_and_this_version(tmp_path: Path) -> None:
    """Another shape, other weights or another onnxruntime make another engine; another number of rows does not."""
    path = tmp_path / "unet/model.onnx"
    path.parent.mkdir()
    path.write_bytes(b"graph")
    first = engine_name(path, SHAPES, "1.31")
    assert first.startswith("unet-")
    assert engine_name(path, SHAPES | {"sample": (1, 4, 64, 96)}, "1.31") == first
    assert engine_name(path, SHAPES | {"sample": (2, 4, 64, 64)}, "1.31") != first
    assert engine_name(path, SHAPES, "1.32") != first
    (path.parent / "model.onnx_data").write_bytes(b"weights")
    assert engine_name(path, SHAPES, "1.31") != first


@pytest.mark.parametrize("shape", [(2, 4), (12, 4)])
def test_a_graph_without_named_rows_has_one_shape(shape: tuple[int, ...]) -> None:
    """Where the export fixed the number of rows, the profile is that number."""
    options = tensorrt_options([Port("x", "tensor(float)", shape)], {"x": shape}, Path("/cache/x"))
    assert len({options[f"trt_profile_{bound}_shapes"] for bound in ("min", "opt", "max")}) == 1
