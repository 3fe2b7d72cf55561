"""One export, from source to folder: read, write graphs, describe, verify, and only then put in place.

Everything is written to a folder beside the target, `OUT.partial`, which becomes OUT at the end: whoever finds OUT
finds all of it, and what was there before stays until then.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import graphs, manifest, preview, verify, weights
from .errors import Refused, Unfaithful
from .pipeline import load, parameters, round_to_half
from .progress import Progress, readable
from .sessions import Graph
from .timestep import ScalarTimestep, add_batch_axis_to_file

if TYPE_CHECKING:
    from pathlib import Path

    from .preview import Array, Fit
    from .source import Source

# Bytes per weight while the graphs are written: float32.
WIDTH = 4
# In cells of the latents, as far as the VAE's size allows: what the preview is fitted on.
PREVIEW_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to export: `precision` is fp32 or fp16 (see `export.weights`); `name` is the model's in the service."""

    name: str
    precision: str = "fp32"
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """What an export made: the manifest, its bytes on disk, and the checks that it passed."""

    manifest: dict[str, Any]
    size: int
    checks: tuple[verify.Check, ...]


def run(source: Source, out: Path, options: Options, progress: Progress) -> Result:
    """Export `source` to the folder `out`, replacing what is there.

    Raises:
        Refused: the source can't be exported, or there is no space; `out` is as it was.
        Unfaithful: a check failed; what was written is left in `out`.partial, and `out` is as it was.
    """
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        pipeline = _read(source, partial, options, progress)
        _write_graphs(pipeline, partial, options, progress)
        description = _describe(pipeline, source, partial, options, progress)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    checks = _verify(pipeline, partial, progress) if options.verify else ()
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return Result(description, _size(out), checks)


def _read(source: Source, partial: Path, options: Options, progress: Progress) -> Any:
    parts = source.family.parts
    with progress.stage(f"reading {source.location}") as notes:
        pipeline = load(source)
        counts = parameters(pipeline, parts)
        notes.append(", ".join(f"{part} {count / 1e6:.1f} M" for part, count in counts.items()) + " weights")
        _check_space(partial, counts)
    if options.precision == "fp16":
        with progress.stage("rounding weights to float16") as notes:
            notes.append(f"largest change of a weight: {round_to_half(pipeline, parts):.1g}")
    return pipeline


def _check_space(folder: Path, counts: dict[str, int]) -> None:
    """A graph is written twice, the second time with its weights in one file: the largest counts double."""
    needed = (sum(counts.values()) + max(counts.values())) * WIDTH
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Refused(f"not enough disk at {folder.parent}: {readable(needed)} are needed, {readable(free)} are free")


def _write_graphs(pipeline: Any, folder: Path, options: Options, progress: Progress) -> None:
    graphs.write_companions(pipeline, folder)
    for name, component in graphs.components(pipeline).items():
        with progress.stage(f"exporting {name}") as notes:
            path = graphs.write_graph(component, folder / name)
            notes.extend(_patched(path))
            notes.append(readable(weights.store(path, half=options.precision == "fp16")))


def _patched(path: Path) -> list[str]:
    try:
        return ["one timestep per row"] if add_batch_axis_to_file(path) else []
    except ScalarTimestep as error:
        raise Refused(f"{path.parent.name} can't take one timestep per row: {error}") from None


def _describe(pipeline: Any, source: Source, folder: Path, options: Options, progress: Progress) -> dict[str, Any]:
    with progress.stage("fitting previews") as notes:
        fitted = fit_preview(pipeline.vae.config, folder)
        notes.append(f"error {fitted.error:.3f} of colours that spread by {fitted.spread:.3f} (RMS, 0 to 1)")
    with progress.stage(f"writing {manifest.MANIFEST}"):
        description = manifest.describe(
            pipeline,
            source.family,
            name=options.name,
            precision=options.precision,
            license=source.license,
            preview=fitted,
        )
        manifest.write(folder, description)
    return description


def fit_preview(vae: Any, folder: Path) -> Fit:
    """Fit the linear picture of latents by the decoder in `folder`; `vae` is its configuration."""
    decoder = Graph(folder / "vae_decoder" / graphs.GRAPH)

    def decode(latents: Array) -> Array:
        unscaled = latents / vae.scaling_factor + (vae.shift_factor or 0)
        return np.clip(decoder(latent_sample=unscaled)["sample"] / 2 + 0.5, 0, 1)

    return preview.fit(decode, vae.latent_channels, size=PREVIEW_SIZE)


def _verify(pipeline: Any, folder: Path, progress: Progress) -> tuple[verify.Check, ...]:
    checks: list[verify.Check] = []
    with progress.stage("comparing components with torch") as notes:
        checks += verify.check_components(pipeline, folder)
        notes.extend(map(str, checks))
    with progress.stage("comparing a picture with diffusers") as notes:
        checks.append(verify.check_picture(pipeline, folder))
        notes.append(str(checks[-1]))
    failed = [str(check) for check in checks if not check.passed]
    if failed:
        raise Unfaithful(f"{'; '.join(failed)}: differs from its source; left in {folder}")
    return tuple(checks)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
