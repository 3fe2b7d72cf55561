"""A test of whether a provider computes correctly.

`python -m tintype.service.models.runtime.probe cuda` prints a `Probe` as JSON. Opening a session proves little:
onnxruntime also opens one on a GPU that its build has no kernels for, or with a driver that is too old; the first call
then fails. So a matrix product and a convolution, which needs cuDNN on CUDA, are computed and compared with numpy.
A plugin also computes attention, as exported models have it: for an operator that it computes wrongly there may be a
way around it (`plugins.cpu_nodes`), or else the plugin is not used.
`providers` runs this module in a process of its own: a driver that crashes or hangs ends only that process.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..graph_writer import FLOAT, GraphWriter, field, node, value
from . import openvino, providers
from .plugins import library
from .plugins import table as plugins
from .rewriting import sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from .graph import Values

    Compute = Callable[[Mapping[str, Values]], Sequence[Values]]

SHAPES = {"a": (64, 96), "b": (96, 32), "x": (1, 8, 16, 16), "w": (16, 8, 3, 3)}
WEIGHTS = (
    "b",
    "w",
)  # constants of the graph, like weights: TensorRT requires constant weights of a convolution
NO_ADAPTER = "it finds no adapter: a GPU's driver is missing, or on Linux Vulkan's loader (libvulkan1)"
TOLERANCE = 1e-2  # of the largest value; TF32 keeps ten bits
ATTENTION = "MultiHeadAttention"
HEADS, WIDTH = 2, 8  # of attention; WebGPU's shader for heads of 64 takes llvmpipe half a minute to compile
# WebGPU's plugin has another kernel for up to 30 tokens.
ATTENTION_SHAPES = {
    "q": (1, 64, HEADS * WIDTH),
    "k": (1, 77, HEADS * WIDTH),
    "v": (1, 77, HEADS * WIDTH),
    "bias": (1, 1, 64, 77),
}


def graph() -> bytes:
    """Return an ONNX graph of opset 13: product = MatMul(a, b), convolved = Conv(x, w)."""
    g = GraphWriter("probe", opset=13)
    tensors = {
        name: g.constant(array) if name in WEIGHTS else g.input(name, FLOAT, SHAPES[name])
        for name, array in arrays().items()
    }
    a, b, x, w = tensors.values()
    g.output("product", g.apply("MatMul", a, b), FLOAT, (64, 32))
    g.output("convolved", g.apply("Conv", x, w), FLOAT, (1, 16, 14, 14))
    return g.content()


def attention_graph() -> bytes:
    """Return an ONNX graph of opset 13: mixed = MultiHeadAttention(q, k, v), with a bias of the scores."""
    attention = node(ATTENTION, ("q", "k", "v", "", "", "bias"), ("mixed",), {"num_heads": HEADS})
    attention += field(3, "attention") + field(7, "com.microsoft")
    inputs = [value(name, FLOAT, shape) for name, shape in ATTENTION_SHAPES.items()]
    output = value("mixed", FLOAT, ATTENTION_SHAPES["q"])
    content = field(1, attention) + field(2, "attention") + field(11, *inputs) + field(12, output)
    return field(1, 8) + field(7, content) + field(8, field(2, 13), field(1, "com.microsoft") + field(2, 1))


def arrays(shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> dict[str, Values]:
    """Return inputs and weights, always the same."""
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def expected() -> list[NDArray[np.float64]]:
    """Return the results as numpy computes them, in float64."""
    a, b, x, w = (array.astype(np.float64) for array in arrays().values())
    windows = sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return [a @ b, np.einsum("nchwij,ocij->nohw", windows, w)]


def expected_attention() -> NDArray[np.float64]:
    """Return attention as numpy computes it, in float64."""
    *tokens, bias = (array.astype(np.float64) for array in arrays(ATTENTION_SHAPES).values())
    q, k, v = (array.reshape(1, -1, HEADS, WIDTH).transpose(0, 2, 1, 3) for array in tokens)
    weights = np.exp(q @ k.swapaxes(2, 3) / WIDTH**0.5 + bias)
    mixed = weights / weights.sum(-1, keepdims=True) @ v
    return np.asarray(mixed.transpose(0, 2, 1, 3).reshape(ATTENTION_SHAPES["q"]))


def find_problem(name: str) -> str:
    """Return in one line why a provider does not work here; empty if it works."""
    feeds = {name: array for name, array in arrays().items() if name not in WEIGHTS}
    try:
        results = (_openvino() if providers.is_standalone(name) else _onnxruntime(name))(feeds)
    except Exception as error:  # noqa: BLE001 - after any error the provider does not work
        text, plugin = " ".join(f"{error or type(error).__name__}".split()), plugins.installed().get(name)
        return NO_ADAPTER if plugin and plugin.no_adapter and plugin.no_adapter in text else text
    return _difference(results, expected())


def _difference(results: Sequence[Values], expected: Sequence[NDArray[np.float64]]) -> str:
    """Return in one line how results differ from the right ones; empty if they don't."""
    for result, right in zip(results, expected, strict=True):
        if result.shape != right.shape:
            return f"it computes wrong values: shape {result.shape} instead of {right.shape}"
        difference = np.abs(np.asarray(result, np.float64) - right).max() / np.abs(right).max()
        if not difference <= TOLERANCE:  # also true of NaN
            return f"it computes wrong values: off by {difference:.2g} of the largest value"
    return ""


def _onnxruntime(name: str) -> Compute:
    session, provider = _plugin_session(name) if name in plugins.installed() else _session(name)
    actual = session.get_providers()[0]
    if actual != provider:
        raise RuntimeError(f"onnxruntime runs the graph on {actual} instead")
    return lambda feeds: session.run(["product", "convolved"], dict(feeds))


def _session(name: str) -> tuple[Any, str]:
    """Return a session of a provider in onnxruntime, and onnxruntime's name of the provider."""
    providers.load_libraries(name)
    long_name = providers.PROVIDERS[name]
    return providers.onnxruntime().InferenceSession(graph(), providers=[long_name], enable_fallback=0), long_name


def _plugin_session(name: str) -> tuple[Any, str]:
    return _open(name, graph(), {"session.disable_cpu_ep_fallback": "1"}), library.long_name(name)


def _open(name: str, model: bytes, entries: Mapping[str, str]) -> Any:
    ort = providers.onnxruntime()
    options = ort.SessionOptions()
    for entry in entries.items():
        options.add_session_config_entry(*entry)
    library.add_device(options, name, {})
    return ort.InferenceSession(model, options, enable_fallback=0)


def find_wrong_operators(name: str) -> tuple[str, ...]:
    """Return the operators that a working plugin computes wrongly, of those that other providers compute in its place.

    Attention runs on the CPU where the plugin does not have it.
    """
    try:
        results = _open(name, attention_graph(), {}).run(["mixed"], arrays(ATTENTION_SHAPES))
    except Exception:  # noqa: BLE001 - a kernel that fails is as wrong
        return (ATTENTION,)
    return (ATTENTION,) if _difference(results, [expected_attention()]) else ()


def _openvino() -> Compute:
    core = openvino.core()
    compiled: Any = core.compile_model(core.read_model(graph()), "CPU")
    return lambda feeds: [compiled(dict(feeds))[name] for name in ("product", "convolved")]


def run(name: str) -> providers.Probe:
    """Test a provider, and name a plugin's adapters."""
    problem = find_problem(name)
    adapters: list[library.Adapter] = []
    wrong: tuple[str, ...] = ()
    if plugin := plugins.installed().get(name):
        with suppress(Exception):  # then `problem` has the reason
            adapters = library.adapters(name)
        wrong = () if problem else find_wrong_operators(name)
        if wrong and not plugin.cpu_nodes:
            problem = f"it computes wrong values: {' and '.join(wrong)}"
    software = bool(adapters) and all(adapter.software for adapter in adapters)
    channels_last = name == "cuda" and not problem and not sample.find_problem()
    return providers.Probe(problem, tuple(map(str, adapters)), software, wrong, channels_last)


if __name__ == "__main__":
    result = run(sys.argv[1])
    print(json.dumps(result))  # noqa: T201 - `providers` reads it
    raise SystemExit(bool(result.problem))
