"""Ways to run a UNet under torch with diffusers, over tintype's arrays and weights: eager, and compiled."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .turns import Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from .random_models import RandomGraph
    from .turns import Call, Feeds

PACKAGES = "torch", "diffusers", "safetensors"
CLASSES = {"unet": "UNet2DConditionModel"}
COMPILING = 60.0  # seconds that compiling takes at least for a published UNet


def missing(kind: str) -> str:
    """Return why torch can't run graphs of this kind here; empty if it can."""
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        return f"not run: {', '.join(absent)} can't be imported"
    return "" if kind in CLASSES else f"not run: torch runs no graphs of kind {kind} here"


def ways(graph: RandomGraph, *, tiny: bool) -> list[Way]:
    """Return torch's ways: eager, torch.compile, and torch.compile with CUDA graphs."""
    import torch  # noqa: PLC0415 - it may be missing

    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = _Module(graph, device)
    seconds = 10 if tiny else COMPILING
    compile_plainly = partial(torch.compile, fullgraph=True, dynamic=False)
    made = [
        Way(f"torch {device}", lambda: module.calls(lambda each: each)),
        Way("compile", lambda: module.calls(compile_plainly), seconds),
    ]
    if device == "cuda":  # the mode captures CUDA graphs
        compile_graphs = partial(torch.compile, fullgraph=True, dynamic=False, mode="reduce-overhead")
        made.append(Way("compile graph", lambda: module.calls(compile_graphs), seconds))
    return made


class _Module:
    """A UNet of diffusers, made once; float16 and channels_last on a GPU, float32 on a CPU.

    The numbers are the same as tintype's: on a CPU it computes float16 weights in float32 as well.
    """

    def __init__(self, graph: RandomGraph, device: str) -> None:
        self._graph, self._device, self._module = graph, device, None

    def calls(self, prepare: Callable[[Any], Any]) -> Call:
        """Return calls of the module, prepared: latents and timestep go to the device, the result comes back."""
        import torch  # noqa: PLC0415

        if self._module is None:
            self._module = self._make()
        module, kept = prepare(self._module), {}
        dtype = torch.float16 if self._device == "cuda" else torch.float32

        def send(name: str, array: Any) -> Any:
            if name not in kept or array.flags.writeable:
                tensor = torch.from_numpy(array.copy()).to(self._device)
                kept[name] = tensor.to(dtype) if tensor.is_floating_point() and name != "timestep" else tensor
            return kept[name]

        def call(feeds: Feeds) -> Any:
            sent = {name: send(name, array) for name, array in feeds.items()}
            added = {name: sent.pop(name) for name in ("text_embeds", "time_ids") if name in sent}
            latents = sent["sample"].contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                (result,) = module(
                    latents,
                    sent["timestep"],
                    sent["encoder_hidden_states"],
                    added_cond_kwargs=added or None,
                    return_dict=False,
                )
                return result.cpu().numpy().copy()

        return call

    def _make(self) -> Any:
        import diffusers  # noqa: PLC0415
        import safetensors.torch  # noqa: PLC0415
        import torch  # noqa: PLC0415

        template = self._graph.template
        torch.set_default_dtype(torch.float16 if self._device == "cuda" else torch.float32)
        try:
            with torch.device(self._device):
                module = getattr(diffusers, CLASSES[template.kind]).from_config(dict(template.config))
        finally:
            torch.set_default_dtype(torch.float32)
        module.load_state_dict(safetensors.torch.load_file(self._graph.weights, device=self._device))
        return module.eval().to(memory_format=torch.channels_last)
