"""A job with an invalid field cannot be constructed."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tintype.service.errors import InvalidField
from tintype.service.images.encode import Output
from tintype.service.job import Control, ImageFile, Job, Lora, Previews
from tintype.v1.limits import MAX_PROMPT, RANGES


def test_defaults() -> None:
    """All fields except the prompt have a default, or are left to the model."""
    job = Job(prompt="a lake")
    assert (job.count, job.priority, job.seed, job.steps, job.output.mime_type) == (1, 0, None, None, "image/png")


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name: str) -> None:
    """Both bounds are allowed; for values beyond them the error names the field and the range."""
    low, high = RANGES[name]
    extra: dict[str, Any] = {"image": b"png"} if name == "strength" else {}
    for value in (low, high):
        assert getattr(Job(prompt="a", **extra | {name: value}), name) == value
    for value in (low - 1, high + max(1, high // 1000), float("nan"), float("inf")):
        with pytest.raises(InvalidField, match=f"{name}: must be") as caught:
            Job(prompt="a", **extra | {name: value})
        assert caught.value.field == name


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_empty_prompt_is_refused(prompt: str) -> None:
    """An empty or blank prompt is refused unless `allow_empty_prompt` is set."""
    with pytest.raises(InvalidField, match="prompt: must not be empty"):
        Job(prompt=prompt)
    assert Job(prompt=prompt, allow_empty_prompt=True).prompt == prompt


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_length_of_prompts(name: str) -> None:
    """32000 characters are allowed, 32001 are not."""
    fields: dict[str, Any] = {"prompt": "a", name: "a" * MAX_PROMPT}
    assert Job(**fields)
    with pytest.raises(InvalidField, match="at most 32000 characters, not 32001") as caught:
        Job(**fields | {name: "a" * (MAX_PROMPT + 1)})
    assert caught.value.field == name


@pytest.mark.parametrize("fields", [{"mask": b"png"}, {"strength": 0.5}, {"strength": 0.0}])
def test_mask_and_strength_require_an_image(fields: dict[str, float]) -> None:
    """Mask and strength, also strength 0, are refused without an image."""
    with pytest.raises(InvalidField, match="requires image") as caught:
        Job(prompt="a", **fields)  # type: ignore[arg-type]
    assert caught.value.field == next(iter(fields))


@pytest.mark.parametrize("make", [Output, Previews])
def test_unknown_mime_type_is_refused(make: type) -> None:
    """The error has the full name of the field and lists the known types."""
    with pytest.raises(InvalidField, match="image/png, image/jpeg, image/webp, not 'image/gif'") as caught:
        make(mime_type="image/gif")
    assert caught.value.field == f"{make.__name__.lower()}.mime_type"


def test_range_of_adapter_weights() -> None:
    """The weight of an adapter is -4 to 4."""
    assert Lora("pixel", -4).weight == -4
    with pytest.raises(InvalidField, match=r"loras\.weight: must be -4 to 4, not 5"):
        Lora("pixel", 5)


def test_previews_take_count_or_every() -> None:
    """`count` and `every` cannot be combined."""
    with pytest.raises(InvalidField, match="count or every, not both"):
        Previews(count=1, every=1)


@given(st.integers(0, 64), st.integers(1, 150))
def test_number_of_previews(count: int, steps: int) -> None:
    """`count` previews are due, at most one per step, and none after the last step, which gives the image."""
    due = [step for step in range(1, steps + 1) if Previews(count=count).due(step, steps)]
    assert len(due) == min(count, steps - 1)
    assert steps not in due


@given(st.integers(1, 64), st.integers(2, 150))
def test_previews_are_spread_evenly(count: int, steps: int) -> None:
    """The gaps between previews, and to both ends, differ by at most one step."""
    due = [0, *(step for step in range(1, steps) if Previews(count=count).due(step, steps)), steps]
    gaps = [b - a for a, b in pairwise(due)]
    assert max(gaps) - min(gaps) <= 1


def test_previews_every_n_steps() -> None:
    """With `every` 3, previews come after steps 3, 6 and 9 of 10; of 9 steps the last one gives the image."""
    assert [step for step in range(11) if step and Previews(every=3).due(step, 10)] == [3, 6, 9]
    assert [step for step in range(10) if step and Previews(every=3).due(step, 9)] == [3, 6]


@pytest.mark.parametrize(
    "fields",
    [
        {"image": b"a"},
        {"references": (b"a",)},
        {"controls": (Control(name="canny", image=b"a"),)},
        {"image_prompts": (ImageFile(name="ip", image=b"a"),)},
        {"prompt_weighting": True},
    ],
)
def test_files_and_weighted_prompts_need_preparation(fields: dict[str, Any]) -> None:
    """A job with any file, or with a weighted prompt, has to be prepared; any other has not."""
    assert Job(prompt="a", **fields).needs_preparation
    assert not Job(prompt="a", clip_skip=1, negative_prompt="b").needs_preparation
