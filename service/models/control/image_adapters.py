"""IP-Adapters: images that the result resembles (Ye et al. 2308.06721).

An image becomes a few tokens, to which every cross attention of the UNet attends with keys and values of its own. These
are computed here, once for a request, from the embedding of CLIP's image encoder; so any number of adapters share the
UNet's graph. An adapter is a folder `image_adapters/NAME` with a `.safetensors` file as published, and the folder
`image_encoder` of its CLIP.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InvalidField
from ..adapters.adapters import IMAGE_ADAPTERS
from ..files import ModelFileError, label, read_json
from ..safetensors import TensorFile
from ..templates.filling import fill_component
from ..weights.pieces import ComponentWeights
from ..weights.published_files import weight_files
from .files import ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ..folder.manifest import Manifest
    from ..graph_source import GraphSource
    from ..model import Array, ImagePrompt
    from ..runtime.session import Session

PREFIX, KEY = "image.", ".K"
PIXELS, EMBEDS = "pixel_values", "image_embeds"
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP's pixels
CACHED_IMAGES = 8
EPSILON = 1e-5  # of the layer norm


@dataclass(frozen=True, slots=True, eq=False)
class ImageAdapter:
    """The weights of one adapter: the projection of an image's embedding to tokens, and each attention's matrices.

    `projection` [tokens * width, embedding] with `bias`, the layer norm's `scale` and `shift` [width], and for each
    cross attention two matrices [inner, width], of keys and of values.
    """

    projection: Array
    bias: Array
    scale: Array
    shift: Array
    matrices: tuple[Array, ...]

    def tokens(self, embedding: Array) -> Array:
        """Return the tokens [tokens, width] of an image's embedding."""
        rows = (self.projection @ embedding + self.bias).reshape(-1, len(self.scale))
        centred = rows - rows.mean(axis=1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(EPSILON))
        return np.asarray(centred / deviation * self.scale + self.shift, np.float32)


class ImageAdapters:
    """The IP-Adapters of a loaded model; the one used last stays in memory.

    `taken` are the names of the optional inputs of the denoiser's graph.
    """

    def __init__(
        self, manifest: Manifest, taken: Iterable[str], open_session: Callable[[GraphSource], Session]
    ) -> None:
        self._manifest, self._open_session = manifest, open_session
        self.inputs = tuple(name for name in taken if name.startswith(PREFIX))
        self._latest: tuple[str, ImageAdapter, Session] | None = None
        self._embeddings: OrderedDict[tuple[str, bytes], Array] = OrderedDict()

    def attended(self, prompts: Sequence[ImagePrompt], *, negative: bool) -> tuple[Array, ...]:
        """Return keys and values [tokens, inner] for each of `inputs`; those of the negative prompt are of no image.

        Raises:
            InvalidField: the adapter cannot be used with this model, or several different ones are asked for.
        """
        if len({prompt.name for prompt in prompts}) > 1:
            raise InvalidField("image_prompts", "must all name the same IP-Adapter")
        name = prompts[0].name
        try:
            adapter, encoder = self._get(name)
            tokens = [adapter.tokens(self._embedding(name, encoder, each, negative=negative)) for each in prompts]
        except ModelFileError as error:
            raise InvalidField("image_prompts", f"{name!r} cannot be used: {error}") from error
        weights = np.concatenate(
            [np.full((len(own), 1), each.weight, np.float32) for own, each in zip(tokens, prompts, strict=True)]
        )
        rows = np.concatenate(tokens)
        both = (rows @ matrix.T for matrix in adapter.matrices)
        return tuple(
            each if input_name.endswith(KEY) else each * weights
            for input_name, each in zip(self.inputs, both, strict=True)
        )

    def _embedding(self, name: str, encoder: Session, prompt: ImagePrompt, *, negative: bool) -> Array:
        """Return the embedding of an image; zeros for the negative prompt."""
        key = name, prompt.digest
        if key not in self._embeddings:
            levels = prompt.levels.astype(np.float32) / np.float32(255)
            mean, deviation = (np.array(each, np.float32)[:, None, None] for each in (MEAN, DEVIATION))
            self._embeddings[key] = encoder.run(EMBEDS, **{PIXELS: ((levels - mean) / deviation)[np.newaxis]})[0]
            if len(self._embeddings) > CACHED_IMAGES:
                self._embeddings.popitem(last=False)
        found = self._embeddings[key]
        return np.zeros_like(found) if negative else found

    def _get(self, name: str) -> tuple[ImageAdapter, Session]:
        if self._latest and self._latest[0] == name:
            return self._latest[1:]
        if not self.inputs:
            raise ModelFileError("the denoiser's graph has no inputs for it; unload the model and load it again")
        folder = self._manifest.folder / IMAGE_ADAPTERS / name
        adapter = _read(folder, self.inputs)
        config = read_json(folder / ENCODER / "config.json")
        options = self._manifest.options
        weights = ComponentWeights(weight_files(folder / ENCODER, options.precision))
        source = fill_component(f"{name}/{ENCODER}", "clip_vision", config, weights, options, adapters=False)
        self._latest = name, adapter, self._open_session(source)
        return self._latest[1:]


def _read(folder: Path, inputs: Sequence[str]) -> ImageAdapter:
    """Read the weights of an adapter for a denoiser with these inputs.

    Raises:
        ModelFileError: the file is missing, damaged, of another kind or for another model.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise ModelFileError(f"{label(folder)} must have one .safetensors file; it has {len(files)}")
    file = TensorFile(files[0])
    if "image_proj.proj.weight" not in file.entries:
        problem = "has no image_proj.proj.weight; IP-Adapters with a resampler (plus) are not supported"
        raise ModelFileError(f"{label(files[0])} {problem}")
    numbers = sorted({int(name.split(".")[1]) for name in file.entries if name.startswith("ip_adapter.")})
    matrices = tuple(file.read(f"ip_adapter.{n}.to_{part}_ip.weight") for n in numbers for part in ("k", "v"))
    if len(matrices) != len(inputs):
        raise ModelFileError(f"{label(files[0])} changes {len(numbers)} attentions; this model has {len(inputs) // 2}")
    return ImageAdapter(
        projection=file.read("image_proj.proj.weight"),
        bias=file.read("image_proj.proj.bias"),
        scale=file.read("image_proj.norm.weight"),
        shift=file.read("image_proj.norm.bias"),
        matrices=matrices,
    )
