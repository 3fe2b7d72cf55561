"""The options of execution providers."""

from __future__ import annotations

from pathlib import Path

from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.provider_options import (
    GraphRole,
    ProviderOptions,
    arena_limit,
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


def test_only_denoisers_on_cuda_are_captured() -> None:
    """Calls of denoisers on CUDA are captured unless that is disabled; TensorRT and other providers capture nothing."""
    assert "enable_cuda_graph" not in cuda_options(graphs=False)
    assert cuda_options(graphs=True)["enable_cuda_graph"] == "1"
    assert ProviderOptions().captures("cuda", GraphRole.DENOISER)
    assert not any(ProviderOptions().captures("cuda", role) for role in (GraphRole.VAE, GraphRole.TEXT_ENCODER))
    assert not any(ProviderOptions().captures(name) for name in ("tensorrt", "cpu", "directml"))
    assert not ProviderOptions(cuda_graphs=False).captures("cuda")


def test_cudnn_chooses_plans_by_heuristics() -> None:
    """By default every change of shape would measure every convolution again."""
    assert all(cuda_options(graphs=graphs)["cudnn_conv_algo_search"] == "HEURISTIC" for graphs in (True, False))


def test_the_arena_grows_as_requested_up_to_its_limit() -> None:
    """Regions have the size requested, so that they can be returned; without a configured limit there is none."""
    assert cuda_options(graphs=False)["arena_extend_strategy"] == "kSameAsRequested"
    assert "gpu_mem_limit" not in cuda_options(graphs=False)
    assert cuda_options(graphs=True, arena=2**30)["gpu_mem_limit"] == str(2**30)


def test_convolutions_with_the_channels_last_are_an_option_of_rewritten_graphs() -> None:
    """Other graphs would transpose before and after each norm."""
    assert cuda_options(graphs=False, nhwc=True)["prefer_nhwc"] == "1"
    assert "prefer_nhwc" not in cuda_options(graphs=False)


def test_the_limit_of_a_session_includes_its_weights() -> None:
    """The runtime counts them, and stops checking a limit that they exceed."""
    assert ProviderOptions().limit(10**9) == 0
    assert ProviderOptions(arena=10**8).limit(10**9) == 1_150_000_000


def test_only_denoisers_keep_memory_beyond_their_weights() -> None:
    """With a limit, other graphs return theirs after each call, of which one runs at a time."""
    limited = ProviderOptions(arena=2**30)
    assert [role for role in GraphRole if limited.counted("cuda", role)] == [GraphRole.DENOISER]
    assert [role for role in GraphRole if not limited.shrinks(role)] == [GraphRole.DENOISER]
    assert [role for role in GraphRole if ProviderOptions().shrinks(role)] == [GraphRole.VAE]
    assert not any(limited.counted("webgpu", role) or ProviderOptions().counted("cuda", role) for role in GraphRole)


def test_a_memory_budget_leaves_room_for_a_running_call() -> None:
    """An eighth, unless `arena` says otherwise; only NVIDIA's providers have such a limit."""
    limited = ProviderOptions(arena=arena_limit(0, 8 * 2**30))
    assert limited.arena == 2**30
    assert limited.weights_budget(8 * 2**30, "cuda") == 7 * 2**30
    assert limited.weights_budget(8 * 2**30, "cpu") == limited.weights_budget(8 * 2**30, "webgpu") == 8 * 2**30
    assert arena_limit(5, 8 * 2**30) == 5
    assert ProviderOptions(arena=arena_limit(0, 0)).weights_budget(0, "cuda") == 0


def test_public_options_contain_no_paths() -> None:
    """Clients see the enabled features of a provider, but no paths of the server."""
    options = ProviderOptions(cuda_graphs=True, engines=Path("/secret"))
    assert options.public("cuda") == {"cuda_graphs": "on"}
    assert options.public("tensorrt") == {"engine_cache": "on"}
    assert options.public("cpu") == ProviderOptions(cuda_graphs=False).public("cuda") == {}


def test_every_named_axis_of_an_engine_is_fixed() -> None:
    """The inputs give the length of each axis. No profiles are passed, since no dynamic input is left."""
    assert fixed_axes(PORTS, SHAPES) == {"batch": 2, "h": 64, "w": 96, "tokens": 1536}
    assert not [name for name in tensorrt_options(PORTS, Path("/cache/unet-1")) if "profile" in name]


def test_an_axis_name_with_two_lengths_stays_free() -> None:
    """Adapters of different ranks share the name of an axis, which then can't be fixed."""
    ports = [*PORTS, Port("lora.B", "tensor(float)", ("batch", "rank", 8))]
    shapes = SHAPES | {"lora.A": (2, 8, 4), "lora.B": (2, 16, 8)}
    assert fixed_axes(ports, shapes) == {"batch": 2, "h": 64, "w": 96, "tokens": 1536}
    assert fixed_axes(ports, shapes | {"lora.B": (2, 4, 8)}) == {
        "batch": 2,
        "h": 64,
        "w": 96,
        "tokens": 1536,
        "rank": 4,
    }


def test_axes_without_names_are_not_fixed() -> None:
    """Axes that the export fixed or left without a name stay unchanged."""
    assert fixed_axes([Port("x", "tensor(float)", (2, None, 4))], {"x": (2, 7, 4)}) == {}


def test_each_engine_has_a_folder_and_all_share_timings() -> None:
    """Timings of kernels are cached for all engines. Half precision is enabled if the graph has it."""
    options = tensorrt_options(PORTS, Path("/cache/unet-1"))
    assert (options["trt_engine_cache_path"], options["trt_timing_cache_path"]) == ("/cache/unet-1", "/cache")
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_fp16_enable"] == "1"
    assert tensorrt_options(PORTS[1:], Path("/cache/unet-1"))["trt_fp16_enable"] == "0"


def test_weights_of_any_size_reach_tensorrt() -> None:
    """They are passed by address: serialized with the graph they could have 2 GB. Norms are not rounded to half."""
    options = tensorrt_options(PORTS, Path("/cache/unet-1"), 2**30)
    assert options["trt_load_user_initializer"] == options["trt_layer_norm_fp32_fallback"] == "1"
    assert options["trt_max_workspace_size"] == str(2**30)
    assert "trt_max_workspace_size" not in tensorrt_options(PORTS, Path("/cache/unet-1"))
