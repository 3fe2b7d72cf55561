"""What a model consists of, what it needs in memory, and what is missing; and the models in the hub's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.service.errors import ModelBroken
from tintype.service.models.control.listing import listing
from tintype.service.models.folder.names import repository_id
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.runtime.provider_options import NVIDIA
from tintype.service.models.templates.cards import describe_quantization, stored_types
from tintype.service.models.templates.filled_template import FilledTemplate

from ..settings.values import format_size
from .capacity import card_finding
from .findings import Finding, Section
from .machine import available_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tintype.service.models.folder.manifest import Manifest
    from tintype.service.models.loading_options import LoadingOptions


PEAK = 1.06  # memory while loading, as a part of the weights in memory
GPUS = (
    "cuda",
    "tensorrt",
    "tensorrt-rtx",
    "webgpu",
    "migraphx",
    "directml",
)  # weights are in the device's memory


def describe_model(model: object, options: LoadingOptions, path: Path | None, provider: str) -> Section:
    """Return what a model is and needs. `path` is where it is, None for one on the hub that is not in its cache."""
    if path is None:
        return _section(model, [Finding("source", "the hub", problem=not_cached(model))])
    try:
        manifest = read_manifest(path, options)
    except ModelBroken as error:
        faults = (f"{model}: {fault}" for fault in error.faults)
        return _section(model, [Finding("source", _kind(path, None), problem="\n".join(faults))])
    components, added = _components(manifest, provider), _additions(manifest)
    return _section(model, [*_summary(path, manifest, options), *components, *added, *_memory(manifest, provider)])


def not_cached(model: object) -> str:
    """Return the problem of a model on the hub that is not in the hub's cache."""
    return f"{model} is not in the hub's cache; download it with `tintype pull {model}`"


def _section(model: object, findings: Sequence[Finding]) -> Section:
    return Section(str(model), f"model {model}", findings, group="models")


def _summary(path: Path, manifest: Manifest, options: LoadingOptions) -> list[Finding]:
    spec, defaults = manifest.spec, manifest.spec.defaults
    size = f"{defaults.width}x{defaults.height}"
    return [
        Finding("source", _kind(path, manifest)),
        Finding("name", spec.name),
        Finding("family", spec.family),
        Finding("precision", str(options.precision)),
        Finding("default size", size),
        Finding("default steps", defaults.steps, f"{defaults.steps} by {defaults.sampler}"),
        Finding("can", sorted(spec.capabilities), ", ".join(sorted(spec.capabilities))),
        *([Finding("license", spec.license)] if spec.license else []),
    ]


def _kind(path: Path, manifest: Manifest | None) -> str:
    """Return what kind of source a model is."""
    if _is(path.is_file):
        kind = "single file"
    elif manifest and all(isinstance(source, OnnxFile) for source in manifest.graphs.values()):
        kind = "folder of ONNX graphs"
    else:
        kind = "folder of published weights" if _is(path.is_dir) else "nothing"
    repository = repository_id(path)
    return f"{kind}, {repository} in the hub's cache" if repository else f"{kind}, {path}"


def _is(test: Callable[[], bool]) -> bool:
    """Return the result of a test of a path; False in a folder that may not be entered."""
    try:
        return test()
    except OSError:
        return False


def _components(manifest: Manifest, provider: str) -> Iterator[Finding]:
    for name, source in manifest.graphs.items():
        size = source.bytes_on(provider)
        if not isinstance(source, FilledTemplate):
            yield Finding(name, {"bytes": size}, f"{format_size(size)}, {source.label}")
            continue
        stored, template, card = stored_types(source), source.template.name, source.card(provider)
        formats = ", ".join(f"{format_} {format_size(number)}" for format_, number in stored.items())
        quantized = describe_quantization(card)
        text = f"{format_size(size)}, template {template}, stored {formats}{f'; {quantized}' if quantized else ''}"
        yield Finding(name, {"bytes": size, "stored": stored, "template": template, "card": card}, text)


def _additions(manifest: Manifest) -> Iterator[Finding]:
    """Yield the ControlNets and IP-Adapters in a model's folder, and those that are skipped, with the reason."""
    found = listing(manifest.folder, manifest.denoiser)
    for name, own in (("ControlNets", found.controls), ("IP-Adapters", found.image_adapters)):
        if own:
            yield Finding(name, list(own), ", ".join(own))
    if found.skipped:
        notes = "\n".join(f"{path} is skipped: {reason}" for path, reason in found.skipped.items())
        yield Finding("skipped", dict(found.skipped), ", ".join(found.skipped), note=notes)


def _memory(manifest: Manifest, provider: str) -> list[Finding]:
    sizes = {name: source.bytes_on(provider) for name, source in manifest.graphs.items()}
    needed, available = sum(sizes.values()), available_memory()
    text = f"{format_size(needed)} for weights on {provider}, and the values of the images being made"
    text += "; --memory bounds both" if provider in NVIDIA else ""
    cards = card_finding({name: source.bytes_on("cuda") for name, source in manifest.graphs.items()})
    fits = provider in GPUS or not available or needed * PEAK <= available
    return [Finding("memory", needed, text, note="" if fits else _advice(max(sizes.values()), available)), cards]


def _advice(largest: int, available: int) -> str:
    """Return what to do if all weights together are larger than the available memory."""
    budget = int(available / PEAK)
    turns = f"--memory {format_size(budget)} lets components take turns; " if largest <= budget else ""
    return f"only {format_size(available)} are available: {turns}--precision int8 and --mapped need less"


def cached_models(cache: Path) -> list[Finding]:
    """Return the models in a hub cache, with their bytes on disk."""
    folders = sorted(cache.glob("models--*--*")) if cache.is_dir() else []
    found = [Finding(_repository(folder), size, format_size(size)) for folder in folders if (size := _size(folder))]
    return found or [Finding("models", None, f"none in {cache}")]


def _repository(folder: Path) -> str:
    return folder.name.removeprefix("models--").replace("--", "/", 1)


def _size(folder: Path) -> int:
    """Return the bytes of a repository's blobs."""
    try:
        return sum(path.stat().st_size for path in (folder / "blobs").iterdir() if path.is_file())
    except OSError:
        return 0
