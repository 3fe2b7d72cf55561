"""What providers are told, by the settings alone."""

from __future__ import annotations

from pathlib import Path

from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.provider_options import (
    GraphRole,
    ProviderOptions,
    cuda_options,
    fixed_axes,
    tensorrt_options,
)

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
    """Denoisers on CUDA are captured unless that is switched off; with TensorRT, and on others, nothing is."""
    assert "enable_cuda_graph" not in cuda_options(graphs=False)
    assert cuda_options(graphs=True)["enable_cuda_graph"] == "1"
    assert ProviderOptions().captures("cuda", GraphRole.DENOISER)
    assert not any(ProviderOptions().captures("cuda", use) for use in (GraphRole.VAE, GraphRole.TEXT_ENCODER))
    assert not any(ProviderOptions().captures(name) for name in ("tensorrt", "cpu", "directml"))
    assert not ProviderOptions(cuda_graphs=False).captures("cuda")


def test_a_change_of_shape_is_cheap() -> None:
    """CuDNN's plans are chosen by heuristics: by default each change of shape measures every convolution anew."""
    assert all(cuda_options(graphs=graphs)["cudnn_conv_algo_search"] == "HEURISTIC" for graphs in (True, False))


def test_memory_has_a_bound_where_one_is_set() -> None:
    """Regions are as large as what is asked for, so that they can be given back, and all of them have a limit."""
    assert cuda_options(graphs=False)["arena_extend_strategy"] == "kSameAsRequested"
    assert "gpu_mem_limit" not in cuda_options(graphs=False)
    assert cuda_options(graphs=True, arena=2**30)["gpu_mem_limit"] == str(2**30)


def test_callers_see_what_is_on() -> None:
    """What a provider was told beside its defaults, without places on this machine."""
    told = ProviderOptions(cuda_graphs=True, engines=Path("/secret"))
    assert told.public("cuda") == {"cuda_graphs": "on"}
    assert told.public("tensorrt") == {"engine_cache": "on"}
    assert told.public("cpu") == ProviderOptions(cuda_graphs=False).public("cuda") == {}


def test_every_named_axis_of_an_engine_is_fixed() -> None:
    """What is fed says how long each axis is; TensorRT wants a profile for each that is free, of every part."""
    assert fixed_axes(PORTS, SHAPES) == {"batch": 2, "h": 64, "w": 96, "tokens": 1536}
    assert not [name for name in tensorrt_options(PORTS, Path("/cache/unet-1")) if "profile" in name]


def test_a_name_of_two_lengths_stays_free() -> None:
    """Adapters of different ranks share the name of an axis, which then can't be fixed."""
    ports = [*PORTS, Port("lora.B", "tensor(float)", ("batch", "rank", 8))]
    fed = SHAPES | {"lora.A": (2, 8, 4), "lora.B": (2, 16, 8)}
    assert fixed_axes(ports, fed) == {"batch": 2, "h": 64, "w": 96, "tokens": 1536}
    assert fixed_axes(ports, fed | {"lora.B": (2, 4, 8)}) == {"batch": 2, "h": 64, "w": 96, "tokens": 1536, "rank": 4}


def test_a_graph_without_names_has_nothing_to_fix() -> None:
    """Axes that the export fixed, or left without a name, are as they are."""
    assert fixed_axes([Port("x", "tensor(float)", (2, None, 4))], {"x": (2, 7, 4)}) == {}


def test_engines_are_kept_apart_and_timings_together() -> None:
    """Each engine has its folder; what was learnt about kernels serves all. Half precision where the graph has it."""
    options = tensorrt_options(PORTS, Path("/cache/unet-1"))
    assert (options["trt_engine_cache_path"], options["trt_timing_cache_path"]) == ("/cache/unet-1", "/cache")
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_fp16_enable"] == "1"
    assert tensorrt_options(PORTS[1:], Path("/cache/unet-1"))["trt_fp16_enable"] == "0"
