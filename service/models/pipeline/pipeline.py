"""Loading a model: text encoders, denoiser and VAE, assembled as its family requires."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ...errors import GenerationFailed, ModelBroken
from ..adapters.adapters import Adapters
from ..adapters.embeddings import INPUT, Embeddings
from ..adapters.layer_sizes import layer_sizes
from ..control.controlnets import ControlNets
from ..control.image_adapters import ImageAdapters
from ..files import ModelFileError, label
from ..model import Prompt
from ..resident.denoising import ResidentDenoiser
from ..resident.values import Device
from ..runtime.provider_options import GraphRole
from ..runtime.session import Session
from ..templates.cards import describe_all
from ..templates.filled_template import overwritten_files
from ..text.encoder import AbsentEncoder, TextEncoder
from ..text.encoders import TextEncoders
from .denoiser import Denoiser
from .operators import check_operators
from .preview import fit_projection, preview
from .stages import Stage, TwoStages
from .vae import Vae

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from ..folder.manifest import Manifest
    from ..graph_source import GraphSource
    from ..model import Array, Conditioning, Shape
    from ..runtime.runtime import Runtime
    from ..runtime.stop_flag import StopFlag
    from ..spec import LatentToRgb, ModelSpec
    from ..text.encoder import Encoder

    Sessions: TypeAlias = "Mapping[GraphSource, Session]"
    """Sessions by the source of their graph."""


class DiffusionModel:
    """A `Model` that runs ONNX graphs. `spec` is the folder's, completed by the provider and the graphs' inputs.

    `sources` are its own graphs, and `sessions` those that are loaded, perhaps from another model's files. `resident`
    keeps latents on the device; None if they are on the host.
    """

    def __init__(
        self,
        spec: ModelSpec,
        stages: Stage | TwoStages,
        vae: Vae,
        stop_flag: StopFlag,
        sources: Collection[GraphSource] = (),
        controls: ControlNets | None = None,
        sessions: Collection[Session] = (),
    ) -> None:
        if spec.batched_timestep and not stages.batched_timestep:
            raise ModelFileError("batched_timestep is true, but the denoiser's graph takes one timestep for all rows")
        self.spec = replace(spec, provider=stages.provider, batched_timestep=stages.batched_timestep)
        self._stages, self._vae, self._stop_flag, self._controls = stages, vae, stop_flag, controls
        self._sources, self._sessions = sources, sessions
        self.resident: ResidentDenoiser | None = None

    @property
    def adapter_reader(self) -> Callable[[Iterable[str]], None]:
        """A function that reads adapters by name, so that `encode` need not; it does not keep the model in memory."""
        return self._stages.adapter_reader

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return the number of chunks of the longest prompt."""
        return self._stages.chunks(prompts)

    def encode(self, prompts: Sequence[Prompt], chunks: int = 1) -> list[Conditioning]:
        """Encode the prompts of one image, one conditioning each, in order.

        Recent prompts are cached. All prompts get the number of chunks of the longest, and at least `chunks`.

        Raises:
            ModelBroken: a file of weights was overwritten, so that images would be wrong.
        """
        self._check_files()
        return self._stages.encode(prompts, chunks)

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the denoiser once: latents [n, c, h, w], timesteps [n], n conditionings of one key -> out [n, c, h, w].

        If `spec.inpaints`, the channels of `spec.mask_layout` follow those of the latents.

        Raises:
            ValueError: timesteps differ, but `spec.batched_timestep` is False.
            GenerationFailed: the call failed.
            OutOfMemory: memory is not sufficient.
        """
        return self._stages.denoise(latents, timesteps, conditionings)

    def decode(self, latents: Array) -> Array:
        """Decode latents [n, c, h, w] to pixels [n, 3, h * downscale, w * downscale] in 0..1.

        Raises:
            ModelBroken: a file of weights was overwritten, so that the image would be wrong.
            GenerationFailed: latents or pixels are not finite.
            OutOfMemory: memory is not sufficient.
        """
        pixels = self._vae.decode(latents)
        self._check_files()
        return pixels

    def encode_pixels(self, pixels: Array, noise: Array) -> Array:
        """Draw latents [n, c, h, w] of pixels [n or 1, 3, H, W] in 0..1; noise [n, c, h, w] is standard normal.

        Raises:
            Unsupported: the folder has no image encoder.
            ModelBroken: the encoder is damaged; it is loaded when it is first needed.
            GenerationFailed: the latents are not finite.
            OutOfMemory: memory is not sufficient.
        """
        try:
            return self._vae.encode(pixels, noise)
        except ModelFileError as error:
            raise ModelBroken(self.spec.name, [str(error)]) from error

    def encode_hint(self, name: str, pixels: Array, draw: Callable[[Shape], Array]) -> Array:
        """Return what the ControlNet `name` reads of pixels [3, H, W] in 0..1; `draw` returns standard normal noise.

        Raises:
            InvalidField: the ControlNet cannot be used with this model.
            ModelBroken: its files are damaged.
        """
        assert self._controls, "the engine's plan has checked the names against the folder"  # noqa: S101
        return self._controls.encode_hint(name, pixels, draw)

    def preview(self, latents: Array) -> Array:
        """Return a rough preview of latents [c, h, w] as pixels [3, h, w] in 0..1, without a call of a graph."""
        return preview(latents, self._projection)

    def stop(self) -> None:
        """Stop the running call between two nodes of its graph, and fail others until `resume`. From any thread."""
        self._stop_flag.stop()

    def resume(self) -> None:
        """Allow calls again."""
        self._stop_flag.resume()

    def _check_files(self) -> None:
        check_files(self.spec.name, self._sources, self._sessions)

    @cached_property
    def _projection(self) -> LatentToRgb:
        """Return the map of tintype.json, or one that is fitted at the first preview."""
        return self.spec.latent_to_rgb or fit_projection(self._vae.decode, self.spec.latent_channels)


def check_files(model: str, sources: Collection[GraphSource], sessions: Collection[Session]) -> None:
    """Raise ModelBroken if a file of a model's weights was overwritten since it was loaded."""
    for path in (
        path
        for source in {*sources, *(session.loaded_source for session in sessions)}
        for path in overwritten_files(source)
    ):
        problem = f"{label(path)} was overwritten after it was loaded; unload the model and load it again"
        raise ModelBroken(model, [problem])


def load(manifest: Manifest, runtime: Runtime, progress: Callable[[float], None]) -> DiffusionModel:
    """Load a model; call `progress` with the loaded share of its bytes, 0 to 1, after each graph.

    Raises:
        ModelBroken: a file is damaged, or does not fit the manifest.
        OutOfMemory: memory is not sufficient.
    """
    try:
        return _assemble(manifest, runtime, _open_all(manifest, runtime, progress))
    except (ModelFileError, GenerationFailed) as error:
        raise ModelBroken(manifest.spec.name, [str(error)]) from error


def _graphs(manifest: Manifest) -> list[GraphSource]:
    """Return the graphs that are loaded at once; the VAE of a second stage is not used."""
    second = manifest.second
    graphs = [manifest.graphs[component] for component in manifest.components]
    if second:
        used = (component for component in second.components if component != second.family.vae.decoder)
        graphs += [second.graphs[component] for component in used]
    return graphs


def _onnx_files(manifest: Manifest) -> list[Path]:
    """Return the ONNX files of both stages, those that are loaded later included."""
    files = (file for graph in manifest.sources for file in graph.files)
    return sorted({file for file in files if file.suffix == ".onnx"})


def _open_all(manifest: Manifest, runtime: Runtime, progress: Callable[[float], None]) -> Sessions:
    """Open the graphs one after the other; opening two at a time would need the memory of both."""
    check_operators(_onnx_files(manifest), runtime.provider)
    graphs = _graphs(manifest)
    total, done = sum(graph.weights_bytes for graph in graphs) or 1, 0
    sessions = {}
    for graph in graphs:
        sessions[graph] = Session(graph, runtime.for_role(_role(manifest, graph)))
        done += graph.weights_bytes
        progress(done / total)
    return sessions


def _role(manifest: Manifest, graph: GraphSource) -> GraphRole:
    """Return the role of a graph in either stage."""
    if graph in [stage.graphs[stage.family.denoiser.folder] for stage in manifest.stages]:
        return GraphRole.DENOISER
    return GraphRole.VAE if graph == manifest.graphs[manifest.family.vae.decoder] else GraphRole.TEXT_ENCODER


def _assemble(manifest: Manifest, runtime: Runtime, sessions: Sessions) -> DiffusionModel:
    family, config = manifest.family, manifest.config

    def opener(component: str) -> Callable[[], Session] | None:
        source = manifest.graphs.get(component)
        return partial(Session, source, runtime.for_role(GraphRole.VAE)) if source else None

    vae = Vae(
        sessions[manifest.graphs[family.vae.decoder]],
        opener(family.vae.encoder),
        family.vae,
        open_decoder_fp32=opener(family.vae.decoder_fp32),
        downscale=manifest.spec.downscale,
        scaling_factor=config.scaling_factor,
        shift_factor=config.shift_factor,
    )
    first, second = _stage(manifest, sessions), manifest.second
    stages = TwoStages(first, _stage(second, sessions), manifest.second_below) if second else first
    open_control = partial(Session, runtime=runtime.for_role(GraphRole.DENOISER))
    open_encoder = partial(Session, runtime=runtime.for_role(GraphRole.TEXT_ENCODER))
    first.image_adapters = ImageAdapters(manifest, first.denoiser.taken, open_encoder)
    denoiser = first.denoiser
    controls = denoiser.controls = ControlNets(manifest, denoiser.taken, denoiser.read, open_control, vae)
    quantized = describe_all(manifest.sources, stages.provider)
    description = ". ".join(text for text in (manifest.spec.description, quantized) if text)
    options = runtime.options.public(stages.provider)
    spec = replace(manifest.spec, provider_options=options, description=description)
    model = DiffusionModel(spec, stages, vae, runtime.stop_flag, manifest.sources, controls, sessions.values())
    if denoiser.device and not second:
        device = Device(denoiser.provider, denoiser.device, runtime.options)
        decoder = vae if vae.device else None
        check = partial(check_files, spec.name, manifest.sources, sessions.values())
        model.resident = ResidentDenoiser(denoiser, device, decoder, check)
    return model


def _stage(manifest: Manifest, sessions: Sessions) -> Stage:
    family, config = manifest.family, manifest.config
    own = {graph.component: sessions[graph] for graph in manifest.graphs.values() if graph in sessions}
    adapters = Adapters(manifest.folder, {component: layer_sizes(s.optional) for component, s in own.items()})
    embeddings = Embeddings(manifest.folder, dict(_embedding_widths(manifest, own)))
    encoders = [_text_encoder(manifest, place, own, adapters, embeddings) for place in range(len(family.text_encoders))]
    text = TextEncoders(encoders, family.combine, zero_negative=config.zero_negative)
    denoiser = Denoiser(own[family.denoiser.folder], family.denoiser, config, manifest.spec, adapters)
    # The usual negative prompt. A tokenizer or an encoder of another model fails here, not in the first request.
    denoiser.check(*text.encode([Prompt("")]))
    return Stage(text, denoiser, adapters)


def _embedding_widths(manifest: Manifest, sessions: Mapping[str, Session]) -> Iterator[tuple[str, int | None]]:
    """Yield each text encoder with the width of its embeddings; None if its graph takes none."""
    for spec in manifest.family.text_encoders:
        if session := sessions.get(spec.encoder):
            width = session.optional.get(INPUT, (None,))[-1]
            yield spec.encoder, width if isinstance(width, int) else None


def _text_encoder(
    manifest: Manifest, place: int, sessions: Mapping[str, Session], adapters: Adapters, embeddings: Embeddings
) -> Encoder:
    spec, config = manifest.family.text_encoders[place], manifest.config
    session = sessions.get(spec.encoder)
    if session is None:
        return AbsentEncoder(config.lengths[place], config.absent_dim)
    folder = manifest.tokenizers[spec.tokenizer]
    tokenizer = spec.tokenizer_kind.read(
        folder, config.lengths[place], fast=config.fast_tokenizers[place], expands=spec.expands
    )
    rows = config.vocabularies[place]
    for token in tokenizer.added:
        if rows and token.id >= rows:
            raise ModelFileError(
                f"{spec.tokenizer}: the id {token.id} of {token.content!r} is beyond the {rows} rows of {spec.encoder}"
            )
    return TextEncoder(tokenizer, session, spec, adapters, embeddings, sessions.get(spec.vision))
