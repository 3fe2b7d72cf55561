"""Resolution of a job's open fields."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.engine.exact import SPEC, spec
from tintype.service.engine.plan import plan
from tintype.service.engine.sizes import MAX_ASPECT, native_size
from tintype.service.errors import InvalidField, Unsupported
from tintype.service.images.upload import Source
from tintype.service.job import Control, Job, Lora
from tintype.service.models import Prompt
from tintype.service.models.spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Guidance
from tintype.v1.limits import MAX_SEED

SOURCE = Source(np.zeros((3, 64, 64), np.uint8))
LARGE = spec(native_sizes=((1024, 1024),), size_multiple=64)


def test_open_fields_get_the_models_defaults() -> None:
    """A prompt alone makes one image of the model's size, steps, guidance and sampler."""
    made = plan(Job(prompt="a lake"), SPEC, draw=lambda: 42)
    assert (made.width, made.height, made.shape) == (64, 64, (4, 8, 8))
    assert (made.calls, made.guidance_scale, made.guided, made.seeds) == (6, 3.0, True, (42,))
    assert (made.prompt, made.negative_prompt, made.revised_prompt) == ("a lake", "", "")


def test_fields_of_the_request_win() -> None:
    """A request's fields win over all defaults, and zero is a value."""
    made = plan(Job(prompt="a", steps=3, guidance_scale=0.0, seed=0, count=2, width=88, height=72), SPEC)
    assert (made.calls, made.guided, made.seeds, (made.width, made.height)) == (3, False, (0, 1), (88, 72))


@pytest.mark.parametrize(("scale", "guided"), [(0.0, False), (1.0, False), (1.01, True)])
def test_guidance_of_at_most_one_skips_the_negative_prompt(scale: float, guided: bool) -> None:  # noqa: FBT001
    """The negative prompt is evaluated only where it changes anything."""
    assert plan(Job(prompt="a", guidance_scale=scale), SPEC).guided is guided


def test_presets_fill_in_below_the_request_and_above_the_model() -> None:
    """Quality wins over style, the request over both; a style's template makes the revised prompt."""
    job = Job(prompt="a lake", negative_prompt="fog", quality="draft", style="vivid", steps=4)
    made = plan(job, SPEC)
    assert (made.calls, made.guidance_scale) == (4, 1.0)
    assert made.prompt == made.revised_prompt == "a lake, vivid"
    assert made.negative_prompt == "fog, grey"
    assert plan(Job(prompt="a", quality="hd"), SPEC).calls == 9


def test_a_style_without_a_prompt_has_no_comma() -> None:
    """The comma between prompt and style is removed."""
    made = plan(Job(prompt="", style="vivid", allow_empty_prompt=True), SPEC)
    assert made.prompt == made.revised_prompt == "vivid"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("quality", "ultra", "'draft', 'hd', or omitted; got 'ultra'"),
        ("style", "noir", "vivid"),
        ("sampler", "eulr", "did you mean 'euler'"),
        ("schedule", "karas", "did you mean 'karras'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_valid_ones(field: str, value: str, says: str) -> None:
    """The error lists or suggests valid names."""
    fields: dict[str, Any] = {"prompt": "a", field: value}
    with pytest.raises(InvalidField, match=says) as caught:
        plan(Job(**fields), SPEC)
    assert caught.value.field == field
    assert repr(value) in str(caught.value)


def test_a_preset_of_a_model_without_presets_is_refused() -> None:
    """The message says that there are none."""
    with pytest.raises(InvalidField, match="must be omitted with this model, which has none; got 'hd'"):
        plan(Job(prompt="a", quality="hd"), spec(qualities={}))


def test_incompatible_choices_are_refused() -> None:
    """DDIM has its own spacing, and only DDIM has eta."""
    with pytest.raises(InvalidField, match="schedule"):
        plan(Job(prompt="a", schedule="karras"), SPEC)
    with pytest.raises(InvalidField, match="eta"):
        plan(Job(prompt="a", sampler="euler", eta=0.5), SPEC)


def test_unknown_adapters_are_refused() -> None:
    """The error lists the adapters of the model; a weight of 0 is no adapter."""
    with pytest.raises(InvalidField, match="loras: 'pixel' is not an adapter of model 'exact': it has no adapters"):
        plan(Job(prompt="a", loras=(Lora("pixel"),)), SPEC)
    own = spec(loras=("clay", "ink"))
    with pytest.raises(InvalidField, match="its adapters are clay, ink"):
        plan(Job(prompt="a", loras=(Lora("ink"), Lora("pixel"))), own)
    made = plan(Job(prompt="a", loras=(Lora("ink", 0.5), Lora("clay", 0.0))), own)
    assert [prompt.loras for prompt in made.prompts] == [(("ink", 0.5),)] * 2


def test_unknown_embeddings_are_refused() -> None:
    """The error lists the embeddings of the model, and says what to do with a pickled file."""
    with pytest.raises(
        InvalidField, match=r"embeddings: .x. cannot be used: it is not an embedding of .*: it has no embeddings"
    ):
        plan(Job(prompt="a", embeddings=("x",)), SPEC)
    own = spec(embeddings=("<cat>", "ink"), pickled=("x.pt",))
    with pytest.raises(InvalidField, match="its embeddings are <cat>, ink"):
        plan(Job(prompt="a", embeddings=("<cat>", "y")), own)
    with pytest.raises(InvalidField, match=r"embeddings/x\.pt is a pickle, .* convert it to x\.safetensors"):
        plan(Job(prompt="a", embeddings=("x",)), own)
    assert [prompt.embeddings for prompt in plan(Job(prompt="a", embeddings=("ink",)), own).prompts] == [("ink",)] * 2


def test_a_kind_belongs_to_a_union() -> None:
    """A ControlNet of one kind takes only 0, a union the kinds that it has; the error names the item."""
    own = spec(controls=("canny", "union"), control_modes={"union": 10})
    fine = (Control(name="canny", image=b"a"), Control(name="union", image=b"a", mode=9))
    assert plan(Job(prompt="a", controls=fine), own).controls == fine
    for name, mode, valid in (("canny", 1, "0, since it has one kind only; got 1"), ("union", 10, "0 to 9; got 10")):
        wrong = Control(name=name, image=b"a", mode=mode)
        with pytest.raises(InvalidField, match=rf"controls\[1\]\.mode: with ControlNet '{name}' must be {valid}"):
            plan(Job(prompt="a", controls=(fine[0], wrong)), own)


def test_clip_skip_needs_layers_of_a_clip() -> None:
    """Without them nothing is left out, so metadata do not name it."""
    job = Job(prompt="a", clip_skip=1)
    assert [plan(job, spec(clip_layer=layer)).clip_skip for layer in (0, 1, 2)] == [0, 1, 1]


@pytest.mark.parametrize("files", [{"image": b"png"}, {"image": b"png", "mask": b"png"}])
def test_an_image_needs_a_model_with_an_encoder(files: dict[str, Any]) -> None:
    """The error names the field and the missing component."""
    with pytest.raises(
        Unsupported, match=r"image: model 'exact' does not support it: it has no image encoder \(vae_encoder\)"
    ):
        plan(Job(prompt="a", **files, source=SOURCE), spec(capabilities=frozenset({TEXT_TO_IMAGE})))


def test_a_model_that_needs_an_image_refuses_jobs_without() -> None:
    """A refiner needs an image; an inpainting model needs a mask as well."""
    refiner = spec(capabilities=frozenset({IMAGE_TO_IMAGE, INPAINTING}))
    with pytest.raises(
        InvalidField, match="image: is required: model 'exact' does not generate images from text alone"
    ):
        plan(Job(prompt="a"), refiner)
    assert plan(Job(prompt="a", source=SOURCE), refiner).source is SOURCE
    painter = spec(capabilities=frozenset({INPAINTING}), inpaints=True)
    with pytest.raises(InvalidField, match="mask: is required: model 'exact' only repaints parts of images"):
        plan(Job(prompt="a", source=SOURCE), painter)


@pytest.mark.parametrize(
    ("guidance", "scale", "guided"),
    [("classifier_free", 4.0, True), ("classifier_free", 1.0, False), ("embedded", 4.0, False), ("none", 4.0, False)],
)
def test_only_classifier_free_guidance_needs_the_negative_prompt(guidance: str, scale: float, guided: bool) -> None:  # noqa: FBT001
    """Other models are called once per step, whatever the scale."""
    made = plan(Job(prompt="a", negative_prompt="b", guidance_scale=scale), spec(guidance=Guidance(guidance)))
    assert made.guided is guided
    assert made.prompts == (Prompt("a"), Prompt("b", negative=True))[: 1 + guided]
    weighted = plan(Job(prompt="a", prompt_weighting=True, guidance_scale=1), SPEC)
    assert weighted.prompts == (Prompt("a", weighted=True),)


def test_without_an_image_there_is_no_strength() -> None:
    """No steps are skipped."""
    made = plan(Job(prompt="a"), SPEC)
    assert (made.strength, made.skipped, made.source) == (None, 0, None)


def test_seeds_wrap_past_the_largest() -> None:
    """Image k has the low 32 bits of seed + k, and every seed fits the contract's int64."""
    seeds = plan(Job(prompt="a", seed=MAX_SEED, count=3), SPEC).seeds
    assert seeds == (MAX_SEED, 0, 1)
    assert [seed % 2**32 for seed in seeds] == [(MAX_SEED + k) % 2**32 for k in range(3)]


def test_seeds_are_drawn_if_none_is_given() -> None:
    """Two requests without a seed differ; a seed of 0 is a seed."""
    assert len({plan(Job(prompt="a"), SPEC).seeds for _ in range(5)}) == 5
    assert plan(Job(prompt="a", seed=0), SPEC, draw=lambda: 9).seeds == (0,)


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ((1024, 1024), (1024, 1024)),
        ((1792, 1024), (1792, 1024)),  # 1.75 of the native area: as requested
        ((1024, 1792), (1024, 1792)),
        ((512, 512), (1024, 1024)),  # too small: rendered large, returned small
        ((256, 256), (1024, 1024)),
        ((4096, 4096), (1024, 1024)),
        ((1000, 1000), (1024, 1024)),  # not a multiple
        ((4096, 16), (2048, 512)),  # 4:1 at most
    ],
)
def test_sizes_of_a_large_model(asked: tuple[int, int], made: tuple[int, int]) -> None:
    """The five documented sizes and unusual ones, each rendered in a size that the model knows."""
    assert native_size(*asked, LARGE) == made


def test_an_aspect_ratio_that_multiples_allow_is_kept() -> None:
    """1792 x 1024 is 7:4; at the native area of 512 x 512 that is 672 x 384, not the nearer 680 x 384."""
    assert native_size(1792, 1024, spec(native_sizes=((512, 512),))) == (672, 384)


@pytest.mark.parametrize(
    ("asked", "made"),
    [((1024, 1024), (1024, 1024)), ((1536, 768), (1536, 768)), ((2048, 512), (1536, 384)), ((600, 2000), (464, 1536))],
)
def test_a_model_with_a_table_of_positions_has_a_longest_side(asked: tuple[int, int], made: tuple[int, int]) -> None:
    """Longer images are rendered smaller, with their aspect ratio."""
    model = spec(native_sizes=((1024, 1024),), size_multiple=16, max_side=1536)
    assert native_size(*asked, model) == made


@given(st.integers(16, 4096), st.integers(16, 4096), st.sampled_from([(64, 8), (512, 8), (1024, 64)]))
def test_every_size_has_a_native_size(width: int, height: int, model: tuple[int, int]) -> None:
    """Multiples that the model takes, about its area, with the nearest aspect ratio that multiples allow."""
    side, multiple = model
    made = native_size(width, height, spec(native_sizes=((side, side),), size_multiple=multiple))
    assert all(n % multiple == 0 and n >= multiple for n in made)
    assert 0.3 < made[0] * made[1] / side**2 < 3.3
    aspect = min(max(width / height, 1 / MAX_ASPECT), MAX_ASPECT)
    assert abs(made[0] - made[1] * aspect) <= multiple * (1 + aspect)
