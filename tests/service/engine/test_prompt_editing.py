"""Prompts that change over the steps: at which step, in batches, and their cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.engine.by_hand import by_hand, images
from tests.support.engine.exact import DIFFUSION, SPEC, Bench, ExactModel, mean_of
from tintype.service.engine.events import Completed, Failed, Finished
from tintype.service.engine.plan import plan
from tintype.service.errors import InvalidField
from tintype.service.job import Job
from tintype.service.models import Prompt
from tintype.service.numerics import TorchNoise, Trajectory, guide, make_table
from tintype.service.prepare import prepare_job

EDITED = {"prompt_weighting": True, "seed": 3}


def edited_by_hand(texts: list[str], *, scale: float = 3.0, negative: str = "") -> np.ndarray:
    """Return the pixels of seed 3 whose prompt at each step is the next of `texts`, made without an engine."""
    model = ExactModel()
    conditionings = model.encode([Prompt(text) for text in [*texts, negative]])
    row = Trajectory.from_noise(make_table(DIFFUSION, len(texts), sampler="ddim"), (4, 8, 8), TorchNoise(3))
    for conditioning in conditionings[:-1]:
        x, t = row.model_input()
        out = model.denoise(np.stack([x, x]), np.array([t, t], np.float32), [conditioning, conditionings[-1]])
        row.advance(guide(out[1:], out[:1], scale)[0])
    return model.decode(row.x[np.newaxis])[0]


def prompts_of(bench: Bench) -> list[float]:
    """Return the mean of the first row's prompt in each denoiser call."""
    return [means[0] for means in bench.model.means]


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a [lake:city:2]", ["a lake"] * 2 + ["a city"] * 3),
        ("a [city:0.5] x", ["a  x"] * 2 + ["a city x"] * 3),
        ("a [lake::1]", ["a lake"] + ["a "] * 4),
        ("[lake|city]", ["lake", "city", "lake", "city", "lake"]),
    ],
)
def test_the_prompt_changes_at_its_step(prompt: str, texts: list[str]) -> None:
    """Each step uses its own text; the image is bit-identical to that of a plain loop."""
    bench = Bench(max_batch=2)
    ticket = bench.admit(prompt, steps=5, **EDITED)
    bench.run()
    assert prompts_of(bench) == [np.float32(mean_of(text)) for text in texts]
    np.testing.assert_array_equal(images(bench, ticket)[0], edited_by_hand(texts))


def test_the_negative_prompt_changes_too() -> None:
    """Both prompts change at their own steps."""
    bench = Bench(max_batch=2)
    bench.admit("[a:b:1]", negative_prompt="[c:d:3]", steps=4, **EDITED)
    bench.run()
    made = [tuple(means) for means in bench.model.means]
    expected = [("a", "c"), ("b", "c"), ("b", "c"), ("b", "d")]
    assert made == [tuple(np.float32(mean_of(text)) for text in pair) for pair in expected]


@pytest.mark.parametrize("prompt", ["a lake", "a (lake:1.2) [at] dusk"])
def test_a_prompt_without_changes_is_encoded_once(prompt: str) -> None:
    """Weights alone encode one text once, and the image is the same."""
    bench = Bench(max_batch=2)
    ticket = bench.admit(prompt, steps=6, **EDITED)
    bench.run()
    assert bench.model.texts == [[prompt, ""]]
    np.testing.assert_array_equal(images(bench, ticket)[0], by_hand(prompt, 3))


def test_without_weighting_brackets_are_text() -> None:
    """A request without prompt weighting gets no syntax."""
    assert plan(Job(prompt="[a:b:0.5] BREAK"), SPEC).prompts[0] == Prompt("[a:b:0.5] BREAK")


@pytest.mark.parametrize("sampler", ["heun", "dpm2"])
def test_changes_count_steps_not_calls(sampler: str) -> None:
    """With a sampler of two calls per step, both calls use the text of the step."""
    made = plan(Job(prompt="[a:b:3]", prompt_weighting=True, steps=6, sampler=sampler, guidance_scale=1), SPEC)
    places = [made.prompt_indices(call)[0] for call in range(made.calls)]
    assert made.calls > 10
    assert places == [0] * 6 + [1] * (made.calls - 6)


def test_skipped_steps_do_not_count() -> None:
    """From an image only the steps that run count, so 0.5 is half of them."""
    made = plan(Job(prompt="[a:b:0.5]", prompt_weighting=True, steps=10, guidance_scale=1), SPEC)
    assert [made.prompt_indices(call)[0] for call in range(10)] == [0] * 5 + [1] * 5


def test_composition_and_a_second_pass() -> None:
    """AND is removed from the prompt but kept in the negative prompt; `earlier_steps` shift the changes."""
    common = {"prompt_weighting": True, "steps": 10, "negative_prompt": "c AND d"}
    made = plan(Job(prompt="a AND [b:e:12]", earlier_steps=10, **common), SPEC)  # type: ignore[arg-type]
    assert [prompt.text for prompt in made.prompts] == ["a, b", "a, e", "c AND d"]
    assert [made.prompt_indices(call) for call in range(4)] == [(0, 2), (0, 2), (1, 2), (1, 2)]
    assert made.prompt == "a AND [b:e:12]"


def test_batching_changes_nothing() -> None:
    """Rows that change at different steps share calls, and each image is the one made alone."""
    jobs: list[dict[str, Any]] = [
        {"prompt": "[a:b:1] x", **EDITED},
        {"prompt": "[c|d|e]", **EDITED},
        {"prompt": "plain", "seed": 3},
    ]
    bench = Bench(max_batch=3)
    tickets = [bench.admit(steps=4, **job) for job in jobs]
    bench.run()
    assert ("denoise", 6) in bench.model.calls
    for job, ticket in zip(jobs, tickets, strict=True):
        alone = Bench()
        same = alone.admit(steps=4, **job)
        alone.run()
        np.testing.assert_array_equal(images(bench, ticket)[0], images(alone, same)[0])


def test_many_texts_are_encoded_two_at_a_time() -> None:
    """All texts have the same number of chunks, so rows can share calls, and units stay short."""
    long = " ".join("abcdefghijklm")
    bench = Bench(max_batch=2)
    bench.admit(f"[a|b|c|{long}|e]", steps=5, **EDITED)
    bench.run()
    assert bench.model.texts == [["a", "b"], ["c", long], ["e", ""]]
    assert len(set(bench.model.shapes)) == 1


def test_no_batch_waits_for_many_texts() -> None:
    """A running image finishes before many texts of a later job are encoded."""
    bench = Bench(max_batch=2)
    first = bench.admit("plain", steps=3, seed=1)
    bench.step(2)
    second = bench.admit("[" + "|".join("abcdefgh") + "]", steps=8, **EDITED)
    bench.run()
    order = [ticket for ticket, event in bench.log if isinstance(event, Completed)]
    assert order == [first, second]
    assert [name for name, _ in bench.model.calls][:5] == ["encode", "denoise", "denoise", "denoise", "decode"]


def test_few_texts_are_encoded_to_join() -> None:
    """A prompt with one change joins running calls, as one without changes does."""
    bench = Bench(max_batch=2)
    bench.admit("plain", steps=3, seed=1)
    bench.step(2)
    bench.admit("[a:b:2]", steps=8, **EDITED)
    bench.run()
    assert [name for name, _ in bench.model.calls][:4] == ["encode", "denoise", "encode", "encode"]
    assert ("denoise", 4) in bench.model.calls


def test_a_cancelled_task_encodes_no_further() -> None:
    """A task cancelled between two texts encodes no more of them."""
    bench = Bench(max_batch=2)
    ticket = bench.admit("[a|b|c|d]", steps=4, **EDITED)
    bench.step()
    bench.engine.cancel(ticket)
    bench.run()
    assert bench.model.texts == [["a", "b"]]
    assert bench.of(ticket, Failed)
    assert not bench.of(ticket, Finished)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("(a" * 60, "must not nest brackets more than 50 deep"),
        ("[a" * 16_000, "must not nest brackets more than 50 deep"),
        ("(a:9999)", "must have weights from -1000 to 1000, not 9999"),
        ("[a|b]" * 101, "must change in at most 100 places"),
        ("[" + "|".join(map(str, range(65))) + "]", "must change to at most 64 texts over the steps, not 65"),
    ],
)
def test_prompts_that_cost_too_much_are_refused_at_once(field: str, text: str, problem: str) -> None:
    """The error names the field before anything is queued, in the preparing thread if the text alone shows it."""
    job = Job(**{"prompt": "a", field: text, "prompt_weighting": True, "steps": 100})  # type: ignore[arg-type]
    with pytest.raises(InvalidField, match=f"^{field}: {problem}"):
        plan(prepare_job(job, SPEC), SPEC)
    with pytest.raises(InvalidField, match=f"^{field}: {problem}"):
        plan(job, SPEC)


def test_words_of_a_preset_are_parsed() -> None:
    """A style's brackets may contain a change; the reported prompt is unparsed."""
    job = Job(prompt="[a:b:1]", prompt_weighting=True, style="vivid", steps=2, guidance_scale=1)
    for made in (plan(job, SPEC), plan(prepare_job(job, SPEC), SPEC)):
        assert [prompt.text for prompt in made.prompts] == ["a, vivid", "b, vivid"]
        assert made.prompt == "[a:b:1], vivid"
