"""Published files at full size: their architectures, components and configurations, from headers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.models.checkpoint.components import denoiser, text_encoder, vae
from tintype.service.models.checkpoint.published_values import VAE_VALUES, model_index
from tintype.service.models.checkpoint.recognition import Architecture, Checkpoint, recognize
from tintype.service.models.templates.keys import kind_of, shaping

if TYPE_CHECKING:
    from collections.abc import Mapping

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
models = pytest.importorskip("tests.support.models.original_models")
configurations = pytest.importorskip("tintype.export.templates.configurations")
files = pytest.importorskip("tests.support.models.original_files")
originals = pytest.importorskip("tests.support.models.original_names")

pytestmark = pytest.mark.torch

ARCHITECTURES = {
    "sd1": Architecture.SD1,
    "sd2": Architecture.SD2,
    "sdxl": Architecture.SDXL,
    "ssd_1b": Architecture.SDXL,
    "vega": Architecture.SDXL,
    "refiner": Architecture.REFINER,
    "flux_dev": Architecture.FLUX,
    "flux_schnell": Architecture.FLUX,
    "sd3_medium": Architecture.SD3,
    "sd35_medium": Architecture.SD3,
    "sd35_large": Architecture.SD3,
}


@pytest.fixture(params=ARCHITECTURES, scope="module")
def published(request: pytest.FixtureRequest) -> tuple[str, Checkpoint]:
    return request.param, recognize(files.header_of(files.full_size_state(request.param)))


# The templates of denoisers, in the order of ARCHITECTURES.
DENOISERS = dict(
    zip(
        ARCHITECTURES,
        (
            *("sd1-unet", "sd2-unet", "sdxl-unet", "ssd-1b-unet", "segmind-vega-unet", "sdxl-refiner-unet"),
            *("flux1-dev", "flux1-schnell", "sd3-medium", "sd35-medium", "sd35-large"),
        ),
        strict=True,
    )
)


def test_templates(published: tuple[str, Checkpoint]) -> None:
    """Every component has the configuration of a template that is made for its architecture."""
    name, checkpoint = published
    parts = [denoiser(checkpoint, "epsilon")]
    parts += [text_encoder(checkpoint, part, model_index(checkpoint)[part][1]) for part in checkpoint.encoders]
    found = {template_of(kind_of(part.class_name, ""), part.config) for part in parts}
    whole = vae(checkpoint.header, str(checkpoint.vae), VAE_VALUES[checkpoint.architecture])
    found |= {template_of(f"kl_{half}", whole.config) for half in ("encoder", "decoder")}
    assert DENOISERS[name] in found
    assert "" not in found


def template_of(kind: str, config: Mapping[str, Any]) -> str:
    fields = shaping(kind, config)
    known = configurations.published().items()
    return next((name for name, made in known if (made.kind, made.fields) == (kind, fields)), "")


def test_architecture(published: tuple[str, Checkpoint]) -> None:
    """Each file is recognized."""
    name, checkpoint = published
    assert checkpoint.architecture is ARCHITECTURES[name]


def test_denoiser(published: tuple[str, Checkpoint]) -> None:
    """The configuration gives diffusers' published module: the same settings, and the shapes of all parameters."""
    name, checkpoint = published
    component = denoiser(checkpoint, "v_prediction" if name == "sd2" else "epsilon")
    config = models.UNETS[name] if name in models.UNETS else models.TRANSFORMERS[name][1]
    kind = kind_of(component.class_name, "unet")
    assert shaping(kind, component.config) == shaping(kind, config)
    module = models.without_memory(lambda: getattr(diffusers, component.class_name).from_config(component.config))
    assert_found(checkpoint, component, module)


def assert_found(checkpoint: Checkpoint, component: Any, module: Any) -> None:
    """Check that each parameter is in the file with its shape, and that nothing of the component is left over."""
    header, weights = checkpoint.header, component.weights
    naming = weights.naming
    assert weights.files == (header.path,)
    used = set()
    for name, tensor in originals.published_state(module).items():
        pieces = naming(name)
        shapes = [header.entries[piece.name].shape for piece in pieces]
        shapes = [shape[::-1] if piece.transposed else shape for piece, shape in zip(pieces, shapes, strict=True)]
        rows = [
            (piece.last or shape[0]) - (piece.first or 0) if shape else 1
            for piece, shape in zip(pieces, shapes, strict=True)
        ]
        found = (sum(rows), *shapes[0][1:]) if shapes[0] else ()
        assert [size for size in found if size > 1] == [size for size in tensor.shape if size > 1], name
        used |= {piece.name for piece in pieces}
    left = {name for name in header.entries if name.startswith(weights.scope)} - used
    assert {name for name in left if not weights.ignored(name)} == set()


@pytest.mark.parametrize("name", ["flux2-klein-4b", "flux2-klein-9b", "flux2-dev"])
def test_flux2(name: str) -> None:
    """A file of the transformer alone has the configuration of its template, and all of its parameters."""
    _, config = configurations.TEMPLATES[name]
    module = models.without_memory(lambda: diffusers.Flux2Transformer2DModel(**config))
    checkpoint = recognize(files.header_of(originals.flux2_state(module)))
    component = denoiser(checkpoint, "epsilon")
    assert template_of(kind_of(component.class_name, "transformer"), component.config) == name
    assert_found(checkpoint, component, module)


@pytest.mark.parametrize("name", ["z-image", "lumina-image-2"])
def test_single_streams(name: str) -> None:
    """A file has the configuration of its template, and all parameters; a norm that is not read is left out."""
    kind, config = configurations.TEMPLATES[name]
    model = {"z_image": diffusers.ZImageTransformer2DModel, "lumina2": diffusers.Lumina2Transformer2DModel}[kind]
    module = models.without_memory(lambda: model(**config))
    state = originals.single_stream_state(module) | {"norm_final.weight": module.layers[0].ffn_norm1.weight}
    checkpoint = recognize(files.header_of(originals.prefixed_state("model.diffusion_model.", state)))
    component = denoiser(checkpoint, "epsilon")
    assert template_of(kind_of(component.class_name, "transformer"), component.config) == name
    assert_found(checkpoint, component, module)


@pytest.mark.parametrize(
    ("decoder", "changes"),
    [("kl-flux2-decoder", {}), ("kl-flux2-small-decoder", {"decoder_block_out_channels": [96, 192, 384, 384]})],
)
def test_vae_of_flux2(decoder: str, changes: Mapping[str, Any]) -> None:
    """A file of the autoencoder alone has the configurations of its templates, also with a narrower decoder."""
    module = models.without_memory(lambda: diffusers.AutoencoderKLFlux2(**changes))
    header = files.header_of(originals.vae_state(module))
    component = vae(header, "", VAE_VALUES[Architecture.FLUX2])
    kinds = [kind_of(component.class_name, f"vae_{half}") for half in ("encoder", "decoder")]
    assert [template_of(kind, component.config) for kind in kinds] == ["kl-flux2-encoder", decoder]


def test_text_encoders(published: tuple[str, Checkpoint]) -> None:
    """The configurations give the published encoders, of the classes in model_index.json."""
    name, checkpoint = published
    index = model_index(checkpoint)
    wanted = {key: value[1] for key, value in index.items() if key.startswith("text_encoder") and value[1]}
    assert checkpoint.encoders.keys() == wanted.keys()
    for part, class_name in wanted.items():
        component = text_encoder(checkpoint, part, class_name)
        expected = reference_encoder(name, part)
        assert {key: component.config[key] for key in expected} == expected
        module = text_module(class_name, component.config)
        if name.startswith("sd3") and part == "text_encoder":
            del module.text_projection  # not in the file
        assert_found(checkpoint, component, module)


def text_module(class_name: str, config: Mapping[str, Any]) -> Any:
    kind = transformers.T5Config if class_name.startswith("T5") else transformers.CLIPTextConfig
    return models.without_memory(lambda: getattr(transformers, class_name)(kind(**config)))


def reference_encoder(name: str, part: str) -> dict[str, Any]:
    """Return the published values of a text encoder that give its shape and its numbers."""
    if part == "text_encoder_3" or (part == "text_encoder_2" and name.startswith("flux")):
        return {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128}
    clip = "clip_g" if part == "text_encoder_2" else "clip_h" if name.startswith("sd2") else "clip_l"
    return {**models.CLIPS[clip], "hidden_act": "quick_gelu" if clip == "clip_l" else "gelu", "eos_token_id": 2}


def test_vae(published: tuple[str, Checkpoint]) -> None:
    """The configuration gives the published VAE."""
    name, checkpoint = published
    values = VAE_VALUES[checkpoint.architecture]
    component = vae(checkpoint.header, str(checkpoint.vae), values)
    config = models.VAE | models.VAES["flux" if name.startswith(("flux", "sd3")) else "sd"]
    for kind in ("kl_encoder", "kl_decoder"):
        assert shaping(kind, component.config) == shaping(kind, config)
    module = models.without_memory(lambda: diffusers.AutoencoderKL.from_config(component.config))
    assert_found(checkpoint, component, module)
