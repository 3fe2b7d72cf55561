"""One export, from source to folder: read, write and verify part by part, describe, and only then put in place.

Everything is written to a folder beside the target, `OUT.partial`, which becomes OUT at the end: whoever finds OUT
finds all of it, and what was there before stays until then. An export that is interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tintype.service.numerics import Diffusion, InvalidChoice

from . import manifest, model_folder, preview, verify
from .adapters.fuse import Chosen, Fusion
from .components import registry
from .console import Progress, readable
from .errors import Refused, Unfaithful
from .graph import adapter_inputs, embedding_input, weights
from .graph.fused_operators import ATTENTION, RMS_NORM, rms_norms
from .graph.precision import PRECISIONS
from .graph.tracing import halved, trace
from .pipeline import Reader, parameters, round_to_half
from .quiet import quiet
from .resume import Remains, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

    from .components.component import Component
    from .preview import Array, Fit
    from .source import Source

# In cells of the latents: what the preview is fitted on.
PREVIEW_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to export: `precision` is a row of `PRECISIONS`, `target` cpu or gpu, `name` the model's in the service.

    `verify` compares each component with its source, `picture` one whole picture, too.
    With `adapters` the graphs take adapters (LoRA), `graph.adapter_inputs`; those of `fuse` become part of the weights.
    """

    name: str
    precision: str = "fp32"
    target: str = "cpu"
    verify: bool = True
    picture: bool = True
    adapters: bool = False
    fuse: tuple[Chosen, ...] = ()

    def key(self) -> dict[str, Any]:
        """Return what decides which components are written."""
        fused = [chosen.key() for chosen in self.fuse]
        return asdict(replace(self, picture=True, fuse=())) | {"fuse": fused}


@dataclass(frozen=True, slots=True)
class Result:
    """What an export made: the manifest, its bytes on disk, and the checks that it passed."""

    manifest: dict[str, Any]
    size: int
    checks: tuple[verify.Check, ...]


def run(source: Source, out: Path, options: Options, progress: Progress) -> Result:
    """Export `source` to the folder `out`, replacing what is there.

    Raises:
        Refused: the source can't be exported, or there is no space; `out` is as it was, and nothing is left but
            components that were right.
        Unfaithful: a check failed; what was written is left in `out`.partial, and `out` is as it was.
    """
    partial = out.with_name(out.name + ".partial")
    with progress.stage("looking for what is done already") as notes:
        remains = Remains.open(partial, key_of(source, options.key()))
        notes.extend(f"kept {component}" for component in remains.done)
    try:
        return _Export(source, remains, options, progress).run(out)
    except Refused:
        if not remains.done:
            shutil.rmtree(partial, ignore_errors=True)
        raise


class _Export:
    """One export under way: the outline of the pipeline, and where its graphs go."""

    def __init__(self, source: Source, remains: Remains, options: Options, progress: Progress) -> None:
        self.source, self.remains, self.options, self.progress = source, remains, options, progress
        self.folder = remains.folder
        self.precision = PRECISIONS[options.precision]
        with progress.stage(f"reading {source.location}") as notes:
            self.reader = Reader(source)
            self.pipeline = self.reader.outline()
            notes.append(self._judged())
            parts = {part: getattr(self.pipeline, part) for part in self.reader.parts if part != "vae"}
            self.fusion = Fusion(options.fuse, parts, self.reader.folder)

    def run(self, out: Path) -> Result:
        """Write what is not there yet, and put all of it in place."""
        model_folder.write_companions(self.pipeline, self.folder)
        _check_noise(self.folder)
        checks = [self._tokenizers(), *(check for part in self.reader.parts for check in self._part(part))]
        description = self._describe()
        checks.append(self._picture())
        self.remains.close()
        shutil.rmtree(out, ignore_errors=True)
        self.folder.rename(out)
        return Result(description, _size(out), tuple(check for check in checks if check))

    def _judged(self) -> str:
        """Refuse what can't be exported, or finds no space, before any weight is read; return how many there are."""
        for part in self.reader.parts:
            self._components(part)
        manifest.describe(self.pipeline, self.source.family, self.source.name)
        counts = {part: parameters(getattr(self.pipeline, part)) for part in self.reader.parts}
        to_come = sum(count for part, count in counts.items() if not self.remains.done.keys() >= {*self._folders(part)})
        _check_space(self.folder, to_come * self.precision.width)
        return ", ".join(f"{part} {count / 1e6:.1f} M" for part, count in counts.items()) + " weights"

    def _components(self, part: str) -> tuple[Component, ...]:
        return registry.components(self.pipeline, self.source.family, part)

    def _folders(self, part: str) -> list[str]:
        return [component.folder for component in self._components(part)]

    def _part(self, part: str) -> list[verify.Check | None]:
        """Write what is not there yet of a part, whose weights are in memory no longer than that."""
        folders = self._folders(part)
        if all(self.remains.has(folder) for folder in folders):
            return [self.remains.check(folder) for folder in folders]
        with self._with_weights(part):
            return [self._component(component) for component in self._components(part)]

    @contextmanager
    def _with_weights(self, part: str) -> Iterator[None]:
        """Read a part of the pipeline, and forget its weights at the end."""
        bare = getattr(self.pipeline, part)
        with self.progress.stage(f"reading {part}") as notes:
            module = self.reader.part(part)
            notes.extend(self.fusion.fuse(part, module))
            notes.extend(self._rounded(module))
        setattr(self.pipeline, part, module)
        try:
            yield
        finally:
            setattr(self.pipeline, part, bare)

    def _rounded(self, *modules: torch.nn.Module) -> list[str]:
        """Round the weights where half of the bits must do, and return what is to be said of it."""
        if not self.precision.rounds(self.options.target):
            return []
        return [f"rounded to float16; largest change of a weight: {max(map(round_to_half, modules)):.1g}"]

    def _component(self, component: Component) -> verify.Check | None:
        if self.remains.has(component.folder):
            return self.remains.check(component.folder)
        path = self.folder / component.folder / model_folder.GRAPH
        path.parent.mkdir()
        with self.progress.stage(f"exporting {component.folder}") as notes:
            model_folder.save_config(component.module, path.parent)
            notes.append(readable(self._write(component, path)))
            check = self._compare(component, path)
            notes.extend([str(check)] if check else [])
        self.remains.add(component.folder, check)
        return check

    def _write(self, component: Component, path: Path) -> int:
        half = self.precision.half(self.options.target, component)
        with halved(component.module) if half else nullcontext(), adapter_inputs.watched(component.module) as layers:
            model = trace(component, half=half)
            _check_fusion(component, model)
            if self.options.adapters and component.adaptable:
                adapter_inputs.add(model, layers)
            if component.table:
                embedding_input.add(model, component.table)
            return weights.write(model, component.module.state_dict(), path, store=self.precision.stored(half=half))

    def _tokenizers(self) -> verify.Check | None:
        with quiet():
            check = verify.check_tokenizers(self.pipeline, self.folder)
        return _passed(check, self.folder) if self.options.verify else None

    def _compare(self, component: Component, path: Path) -> verify.Check | None:
        if not self.options.verify:
            return None
        return _passed(verify.check_component(component, path, self.precision.limit(self.options.target)), self.folder)

    def _describe(self) -> dict[str, Any]:
        with self.progress.stage("fitting previews") as notes:
            fitted = _fit_preview(self.reader.part("vae"))
            notes.append(f"error {fitted.error:.3f} of colours that spread by {fitted.spread:.3f} (RMS, 0 to 1)")
        with self.progress.stage(f"writing {manifest.MANIFEST}"):
            description = manifest.describe(
                self.pipeline,
                self.source.family,
                self.source.name,
                name=self.options.name,
                precision=self.options.precision,
                target=self.options.target,
                license=self.source.license,
                preview=fitted.as_json(),
            )
            manifest.write(self.folder, description)
        return description

    def _picture(self) -> verify.Check | None:
        if not self.options.picture or not verify.can_draw(self.source.pipeline):
            return None
        with self.progress.stage("comparing a picture with diffusers") as notes:
            levels = self.precision.levels(self.options.target)
            kind, prompt = type(self.pipeline), verify.prompt_for(self.pipeline)
            check = verify.check_picture(self._whole, kind, self.source.family, self.folder, levels, prompt)
            notes.append(str(check))
        return _passed(check, self.folder)

    def _whole(self) -> Any:
        pipeline = self.reader.whole()
        for part in self.reader.parts:
            list(self.fusion.fuse(part, getattr(pipeline, part)))
        self._rounded(*(getattr(pipeline, part) for part in self.reader.parts))
        return pipeline


def _check_noise(folder: Path) -> None:
    """Refuse what the service would: nothing could be drawn with a training noise that no sampler here follows."""
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        Diffusion.from_config(json.loads(path.read_text("utf-8")))
    except InvalidChoice as error:
        raise Refused(f"{path.parent.name}/{path.name}: {error}") from None


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Refused(f"not enough disk at {folder.parent}: {readable(needed)} are needed, {readable(free)} are free")


def _check_fusion(component: Component, model: onnx.ModelProto) -> None:
    """Fail where less is fused than the module's structure says: the graph would be right, and slow for no reason."""
    expected = {ATTENTION: component.attentions, RMS_NORM: rms_norms(component.body or component.module)}
    there = Counter(node.op_type for node in model.graph.node)
    missed = [f"{there[op]} {op} instead of {count}" for op, count in expected.items() if there[op] != count]
    if missed:
        raise Unfaithful(f"{component.folder} has {' and '.join(missed)}: this version of diffusers computes otherwise")


def _passed(check: verify.Check, folder: Path) -> verify.Check:
    if not check.passed:
        raise Unfaithful(f"{check}: differs from its source; left in {folder}")
    return check


def _fit_preview(vae: Any) -> Fit:
    """Fit the linear picture of latents by the autoencoder itself."""
    shift = vae.config.get("shift_factor") or 0

    def decode(latents: Array) -> Array:
        unscaled = torch.from_numpy(latents) / vae.config.scaling_factor + shift
        with torch.no_grad():
            pixels: Array = vae.decode(unscaled, return_dict=False)[0].numpy()
        return np.clip(pixels / 2 + 0.5, 0, 1)

    return preview.fit(decode, vae.config.latent_channels, size=PREVIEW_SIZE)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
