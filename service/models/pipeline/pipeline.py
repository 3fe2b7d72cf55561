"""The real model: text encoder, denoiser and VAE, put together as the family says."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ...errors import GenerationFailed, ModelBroken
from ..files import ModelFileError, weight
from ..model import Prompt
from ..runtime.provider_options import GraphRole
from ..runtime.session import Session
from ..text.embeddings import INPUT, Embeddings
from ..text.encoder import AbsentEncoder, TextEncoder
from ..text.encoders import TextEncoders
from .denoiser import Denoiser
from .lora import Adapters, ports
from .preview import fit, show
from .stages import Stage, TwoStages
from .vae import Vae

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from ..folder.manifest import Manifest
    from ..model import Array, Conditioning
    from ..runtime.runtime import Runtime
    from ..runtime.stop_flag import StopFlag
    from ..spec import LatentToRgb, ModelSpec
    from ..text.encoder import Encoder

    Sessions: TypeAlias = "Mapping[Path, Session]"


class DiffusionModel:
    """A `Model` on onnxruntime. `spec` is the folder's, completed by what its graphs say."""

    def __init__(self, spec: ModelSpec, stages: Stage | TwoStages, vae: Vae, stop_flag: StopFlag) -> None:
        if spec.batched_timestep and not stages.batched_timestep:
            raise ModelFileError("batched_timestep is true, but the denoiser's graph takes one timestep for all rows")
        self.spec = replace(spec, provider=stages.provider, batched_timestep=stages.batched_timestep)
        self._stages, self._vae, self._stop_flag = stages, vae, stop_flag

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return how many chunks the longest of some prompts has."""
        return self._stages.chunks(prompts)

    def encode(self, prompts: Sequence[Prompt], chunks: int = 1) -> list[Conditioning]:
        """Encode the prompts of one image, one conditioning each, in order.

        Recent prompts come from the cache. Each gets as many chunks as the longest of them, and at least `chunks`.
        """
        return self._stages.encode(prompts, chunks)

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the denoiser once: latents [n, c, h, w], timesteps [n], n conditionings of one key -> out [n, c, h, w].

        Where `spec.inpaints`, latents have c + 1 + c channels: a mask, and the latents of the masked picture.

        Raises:
            ValueError: timesteps differ, where `spec.batched_timestep` is False.
            GenerationFailed: the call failed.
            OutOfMemory: there was not enough memory for it.
        """
        return self._stages.denoise(latents, timesteps, conditionings)

    def decode(self, latents: Array) -> Array:
        """Decode latents [n, c, h, w] to pixels [n, 3, h * downscale, w * downscale] in 0..1.

        Raises:
            GenerationFailed: latents or pixels are not finite.
            OutOfMemory: there was not enough memory for it.
        """
        return self._vae.decode(latents)

    def encode_pixels(self, pixels: Array, noise: Array) -> Array:
        """Draw latents [n, c, h, w] of pixels [n or 1, 3, H, W] in 0..1; noise [n, c, h, w] is standard normal.

        Raises:
            Unsupported: the folder has no image encoder.
            ModelBroken: the encoder, which is loaded when it is first needed, is damaged.
            GenerationFailed: the latents are not finite.
            OutOfMemory: there was not enough memory for it.
        """
        try:
            return self._vae.encode(pixels, noise)
        except ModelFileError as error:
            raise ModelBroken(self.spec.name, [str(error)]) from error

    def preview(self, latents: Array) -> Array:
        """Show latents [c, h, w] as pixels [3, h, w] in 0..1: cheap, rough, at latent resolution."""
        return show(latents, self._projection)

    def stop(self) -> None:
        """End the call under way between two nodes of its graph, and fail others until `resume`. From any thread."""
        self._stop_flag.stop()

    def resume(self) -> None:
        """Let calls run again."""
        self._stop_flag.resume()

    @cached_property
    def _projection(self) -> LatentToRgb:
        """The manifest's map, or one fitted at the first preview."""
        return self.spec.latent_to_rgb or fit(self._vae.decode, self.spec.latent_channels)


def load(manifest: Manifest, runtime: Runtime, progress: Callable[[float], None]) -> DiffusionModel:
    """Bring a model into memory; `progress` hears the loaded share of its bytes, 0 to 1.

    Raises:
        ModelBroken: a file is damaged, or is not what the manifest says.
        OutOfMemory: it does not fit.
    """
    try:
        return _assemble(manifest, runtime, _open_all(manifest, runtime, progress))
    except (ModelFileError, GenerationFailed) as error:
        raise ModelBroken(manifest.spec.name, [str(error)]) from error


def _graphs(manifest: Manifest) -> list[Path]:
    """Return the graphs that are loaded at once; a second stage needs no VAE."""
    second = manifest.second
    later = [second.graph(part) for part in second.components if part != second.family.vae.decoder] if second else []
    return [manifest.graph(part) for part in manifest.components] + later


def _open_all(manifest: Manifest, runtime: Runtime, progress: Callable[[float], None]) -> Sessions:
    """Open the graphs one after the other: two at a time would need the memory of both."""
    paths = _graphs(manifest)
    whole, done = sum(weight(path.parent) for path in paths) or 1, 0
    sessions = {}
    for path in paths:
        sessions[path] = Session(path, runtime.for_role(_role(manifest, path)))
        done += weight(path.parent)
        progress(done / whole)
    return sessions


def _role(manifest: Manifest, path: Path) -> GraphRole:
    """Return the role of the graph at `path` in either stage."""
    stages = [manifest, *([manifest.second] if manifest.second else [])]
    if path in [stage.graph(stage.family.denoiser.folder) for stage in stages]:
        return GraphRole.DENOISER
    return GraphRole.VAE if path == manifest.graph(manifest.family.vae.decoder) else GraphRole.TEXT_ENCODER


def _assemble(manifest: Manifest, runtime: Runtime, sessions: Sessions) -> DiffusionModel:
    family, traits = manifest.family, manifest.traits

    def later(component: str) -> Callable[[], Session] | None:
        vae_runtime = runtime.for_role(GraphRole.VAE)
        return partial(Session, manifest.graph(component), vae_runtime) if manifest.has(component) else None

    vae = Vae(
        sessions[manifest.graph(family.vae.decoder)],
        later(family.vae.encoder),
        family.vae,
        open_exact=later(family.vae.exact),
        downscale=manifest.spec.downscale,
        scaling_factor=traits.scaling_factor,
        shift_factor=traits.shift_factor,
    )
    first, second = _stage(manifest, sessions), manifest.second
    stages = TwoStages(first, _stage(second, sessions), manifest.second_below) if second else first
    spec = replace(manifest.spec, provider_options=runtime.options.public(stages.provider))
    return DiffusionModel(spec, stages, vae, runtime.stop_flag)


def _stage(manifest: Manifest, sessions: Sessions) -> Stage:
    family, traits = manifest.family, manifest.traits
    adapters = Adapters(manifest.folder, {path.parent.name: ports(s.optional) for path, s in _own(manifest, sessions)})
    embeddings = Embeddings(manifest.folder, dict(_widths(manifest, sessions)))
    encoders = [_text_encoder(manifest, place, sessions, adapters, embeddings) for place in range(len(family.text))]
    text = TextEncoders(encoders, family.join, zero_negative=traits.zero_negative)
    denoiser = Denoiser(
        sessions[manifest.graph(family.denoiser.folder)], family.denoiser, traits, manifest.spec, adapters
    )
    # Most requests' negative prompt; and a tokenizer or an encoder of another model shows now, not later.
    denoiser.check(*text.encode([Prompt("")]))
    return Stage(text, denoiser, adapters)


def _own(manifest: Manifest, sessions: Sessions) -> Iterator[tuple[Path, Session]]:
    """Yield the sessions of a model's own graphs, not those of its second stage."""
    yield from ((path, session) for path, session in sessions.items() if path.parent.parent == manifest.folder)


def _widths(manifest: Manifest, sessions: Sessions) -> Iterator[tuple[str, int | None]]:
    """Yield the text encoders with the width of their embeddings, or None.

    None is that of a graph that takes no embeddings.
    """
    for part in manifest.family.text:
        if session := sessions.get(manifest.graph(part.encoder)):
            width = session.optional.get(INPUT, (None,))[-1]
            yield part.encoder, width if isinstance(width, int) else None


def _text_encoder(
    manifest: Manifest, place: int, sessions: Sessions, adapters: Adapters, embeddings: Embeddings
) -> Encoder:
    part, traits = manifest.family.text[place], manifest.traits
    session = sessions.get(manifest.graph(part.encoder))
    if session is None:
        return AbsentEncoder(traits.lengths[place], traits.absent_dim)
    folder = manifest.folder / part.tokenizer
    tokenizer = part.kind.read(folder, traits.lengths[place], fast=traits.fast[place], expands=part.expands)
    rows = traits.vocabularies[place]
    for token in tokenizer.added:
        if rows and token.id >= rows:
            raise ModelFileError(
                f"{part.tokenizer}: the id {token.id} of {token.content!r} is beyond {part.encoder}'s {rows} rows"
            )
    return TextEncoder(tokenizer, session, part, adapters, embeddings)
