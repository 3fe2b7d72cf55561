"""A published adapter: a `.safetensors` file, and metadata with its alphas.

The metadata is in the file's header, as diffusers writes it, or in PEFT's adapter_config.json. A file is used as a
whole or refused: a tensor that belongs to no adapter, an unsupported kind or a damaged file is an error.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from ..files import ModelFileError
from ..safetensors import printable
from .changes import KINDS, read_change
from .layer_sizes import describe_size
from .peft_metadata import PeftMetadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ..safetensors import TensorFile
    from .changes import LayerChange

# End of a tensor's name, which gives the tensor's role in its layer. XLabs' names keep `_lora1` or `_lora2`, which tell
# the two streams of a FLUX block apart.
ENDS = re.compile(
    r"(?:[._]lora(?:_linear_layer)?[._](?P<side>A|B|down|up|mid)(?:\.default)?\.(?P<of>weight|bias)"
    r"|(?<=_lora[12])\.(?P<stream>down|up)\.weight"
    r"|\.(?P<other>alpha|scalar|dora_scale|lora_magnitude_vector|diff|diff_b|w_norm|b_norm"
    r"|(?:hada|lokr)_[wt][12](?:_[ab])?)(?:\.default)?(?:\.weight)?)$"
)
ROLES = {"A": "down", "B": "up", "w_norm": "diff", "b_norm": "diff_b"}
# Part of a tensor's name -> the unsupported kind of adapter that uses it.
FOREIGN = {"oft_": "OFT", "boft_": "BOFT", ".on_input": "IA3", ".ia3_": "IA3", "vera_": "VeRA"}
METADATA_KEY = "lora_adapter_metadata"
MAX_CONFIG = 2**24  # bytes of PEFT's file; one with a pattern for each layer has 100 kB


class AdapterFile:
    """The layers of a published adapter, with the names of their tensors by role; numbers are read by `change`.

    Args:
        file: The file's tensors.
        denoiser: The component that `config` applies to.
        config: PEFT's adapter_config.json, which may be absent.

    Raises:
        ModelFileError: it is not an adapter, or its metadata cannot be read.
    """

    def __init__(self, file: TensorFile, denoiser: str, config: Path) -> None:
        self.path, self._file = file.path, file
        self.layers = group_by_layer(file.entries)
        header = _parse_metadata(file.metadata.get(METADATA_KEY, "{}"))
        own = {f"{denoiser}.{key}": value for key, value in _read_config(config).items()}
        self.metadata = PeftMetadata({**header, **own})

    def change(self, name: str) -> LayerChange:
        """Read the change of a layer. Raises ModelFileError if its tensors do not fit together, or are not finite."""
        return read_change(name, self.layers[name], self._file.read)

    def changes(self) -> Iterator[LayerChange]:
        """Read all changes, in the order of their names. Raises ModelFileError."""
        yield from (self.change(name) for name in sorted(self.layers))

    def scale(self, change: LayerChange, part: str, module: str) -> float:
        """Return the scale of a change of a module. Raises ModelFileError if its alpha is not a finite number."""
        alpha = f"the alpha in its metadata for {printable(change.name)}"
        try:
            found = change.scale(self.metadata, part, module)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise ModelFileError(f"{alpha} cannot be read: {error}") from None
        if not math.isfinite(found):
            raise ModelFileError(f"{alpha} is not finite")
        return found


def check_shape(change: LayerChange, shape: tuple[int, ...]) -> None:
    """Check that a change fits weights of `shape` [out, in, ...]. Raises ModelFileError, with both sizes."""
    out, *rest = shape
    core = change.fields.get("mid", change.fields.get("down", change.fields.get("diff")))
    kernel = core.shape[2:] if core is not None else ()
    same_kernel = not kernel or math.prod(kernel) == 1 or kernel == tuple(rest[1:])
    if change.factors and (change.size != (out, math.prod(rest)) or not same_kernel):
        taps = math.prod(kernel)
        theirs = (change.size[1] // taps, *(kernel if taps > 1 else ()), change.size[0])
        ours = (*(rest[:1] if math.prod(rest[1:]) == 1 else rest), out) if rest else (1, out)
        sizes = f"{describe_size(theirs)}, which is {describe_size(ours)} in this model"
        raise ModelFileError(f"changes {printable(change.name)} {sizes}")


def group_by_layer(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the names of tensors by layer and role. Raises ModelFileError for a tensor that belongs to no adapter."""
    layers: dict[str, dict[str, str]] = {}
    unknown = []
    for name in names:
        end = ENDS.search(name)
        if end:
            role = end["side"] or end["stream"] or end["other"]
            layers.setdefault(name[: end.start()], {})["bias" if end["of"] == "bias" else ROLES.get(role, role)] = name
        else:
            unknown.append(name)
    foreign = [kind for part, kind in FOREIGN.items() if any(part in name for name in unknown)]
    if foreign:
        known = ", ".join(kind.name for kind in KINDS)
        raise ModelFileError(f"is an adapter of the kind {foreign[0]}; supported: {known}, DoRA")
    if not layers:
        problem = (
            f"it has tensors such as {printable(unknown[0])}, like a model's weights" if unknown else "it is empty"
        )
        raise ModelFileError(f"holds no adapter: {problem}")
    if unknown:
        raise ModelFileError(f"holds {printable(unknown[0])}, which is not part of an adapter")
    return layers


def _parse_metadata(text: str) -> Mapping[str, Any]:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"its metadata is not valid JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise ModelFileError("its metadata must be a JSON object")
    return metadata


def _read_config(path: Path) -> Mapping[str, Any]:
    """Return the metadata in PEFT's file, if there is one."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_CONFIG:
        raise ModelFileError(f"{path.name} must have at most {MAX_CONFIG} bytes, not {path.stat().st_size}")
    return _parse_metadata(path.read_text("utf-8", errors="replace"))
