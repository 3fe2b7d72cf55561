"""Read a published adapter: a `.safetensors` file, and metadata with its alphas.

The metadata is in the file's header, as diffusers writes it, or in the file adapter_config.json next to it, as PEFT
does. A file is used as a whole or refused: a tensor that belongs to no adapter, an unsupported kind or a damaged file
is an error.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tintype.service.models.files import ModelFileError, label
from tintype.service.models.pipeline.adapters import describe_size
from tintype.service.models.safetensors import TensorFile, printable

from ..errors import ExportRefusal
from .changes import KINDS, LayerChange, read_changes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# End of a tensor's name, which gives the tensor's role in its layer.
ENDS = re.compile(
    r"(?:[._]lora(?:_linear_layer)?[._](?P<side>A|B|down|up|mid)(?:\.default)?\.(?P<of>weight|bias)"
    r"|\.(?P<other>alpha|scalar|dora_scale|lora_magnitude_vector|diff|diff_b|w_norm|b_norm"
    r"|(?:hada|lokr)_[wt][12](?:_[ab])?)(?:\.default)?(?:\.weight)?)$"
)
ROLES = {"A": "down", "B": "up", "w_norm": "diff", "b_norm": "diff_b"}
# Part of a tensor's name -> the unsupported kind of adapter that uses it.
FOREIGN = {"oft_": "OFT", "boft_": "BOFT", ".on_input": "IA3", ".ia3_": "IA3", "vera_": "VeRA"}
PEFT_CONFIG = "adapter_config.json"
METADATA_KEY = "lora_adapter_metadata"


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """An adapter file: its changes in the order of their names, and its metadata."""

    path: Path
    changes: tuple[LayerChange, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def refuse(self, problem: str) -> ExportRefusal:
        """Return the error to raise for a problem of the file."""
        return ExportRefusal(f"{self.path}: {problem}")

    def check_shape(self, change: LayerChange, shape: tuple[int, ...]) -> None:
        """Check that a change fits weights of `shape` [out, in, ...]. Raises ExportRefusal, with both sizes."""
        out, *rest = shape
        core = change.fields.get("mid", change.fields.get("down", change.fields.get("diff")))
        kernel = core.shape[2:] if core is not None else ()
        same_kernel = not kernel or math.prod(kernel) == 1 or kernel == tuple(rest[1:])
        if change.factors and (change.size != (out, math.prod(rest)) or not same_kernel):
            taps = math.prod(kernel)
            theirs = (change.size[1] // taps, *(kernel if taps > 1 else ()), change.size[0])
            ours = (*(rest[:1] if math.prod(rest[1:]) == 1 else rest), out) if rest else (1, out)
            sizes = f"{describe_size(theirs)}, which is {describe_size(ours)} in this model"
            raise self.refuse(f"changes {printable(change.name)} {sizes}")

    def scale(self, change: LayerChange, part: str, module: str) -> float:
        """Return the scale of a change of a module. Raises ExportRefusal if its alpha is not a finite number."""
        alpha = f"the alpha in its metadata for {printable(change.name)}"
        try:
            found = change.scale(self.metadata, part, module)
        except (TypeError, ValueError, AttributeError, re.error, ZeroDivisionError) as error:
            raise self.refuse(f"{alpha} cannot be read: {error}") from None
        if not math.isfinite(found):
            raise self.refuse(f"{alpha} is not finite")
        return found


def read(path: Path, denoiser: str) -> AdapterFile:
    """Read an adapter file; PEFT's metadata applies to the component `denoiser`. Raises ExportRefusal."""
    try:
        group_by_layer(TensorFile(path, most=2**63).entries)
        file = TensorFile(path)  # with the size limit, only now: wrong contents are reported before a wrong size
        metadata = _parse_metadata(file.metadata.get(METADATA_KEY, "{}"), "") | _peft_metadata(path, denoiser)
        return AdapterFile(path, read_changes(group_by_layer(file.entries), file.read), metadata)
    except ModelFileError as error:
        problem = str(error).removeprefix(label(path)).lstrip(": ")
        raise ExportRefusal(f"{path}: {problem}") from None


def group_by_layer(names: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the names of tensors by layer and role. Raises ModelFileError for a tensor that belongs to no adapter."""
    layers: dict[str, dict[str, str]] = {}
    unknown = []
    for name in names:
        end = ENDS.search(name)
        if end:
            role = ROLES.get(end["side"] or end["other"], end["side"] or end["other"])
            layers.setdefault(name[: end.start()], {})["bias" if end["of"] == "bias" else role] = name
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


def _parse_metadata(text: str, component: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"its metadata is not valid JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise ModelFileError("its metadata must be a JSON object")
    return {f"{component}.{key}" if component else key: value for key, value in metadata.items()}


def _peft_metadata(path: Path, denoiser: str) -> dict[str, Any]:
    """Return the metadata in PEFT's file next to the adapter, if there is one."""
    config = path.with_name(PEFT_CONFIG)
    return _parse_metadata(config.read_text("utf-8", errors="replace"), denoiser) if config.is_file() else {}
