"""Images to edit: they are encoded once for a task, and every denoiser call of its rows gets their latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.engine.by_hand import images
from tests.support.engine.exact import COST, Bench, ExactModel, spec
from tintype.service.engine.events import Completed, Failed, Finished
from tintype.service.errors import Cancelled, GenerationFailed, InvalidField, Unsupported
from tintype.service.images.upload import Source
from tintype.service.models import Conditioning, Prompt
from tintype.service.models.model import Reference
from tintype.service.models.spec import TEXT_TO_IMAGE, ReferenceFit, ReferenceRule

if TYPE_CHECKING:
    from collections.abc import Sequence

RULE = ReferenceRule(most=2, fit=ReferenceFit.FLUX2)
EDITOR = spec(references=RULE, capabilities=frozenset({TEXT_TO_IMAGE}))


def reference(seed: int, width: int = 64, height: int = 64) -> Reference:
    """Return noise of some size as an image to edit."""
    levels = np.random.default_rng(seed).integers(0, 256, (3, height // 8, width // 8), np.uint8)
    return Reference(levels.repeat(8, 1).repeat(8, 2), digest=bytes([seed]))


class Editor(ExactModel):
    """A model whose images have the mean of their prompt and of their references, which it records."""

    def __init__(self, rule: ReferenceRule = RULE) -> None:
        super().__init__(spec=spec(references=rule))
        self.shown: list[list[tuple[int, ...]]] = []
        self.seen: list[tuple[Reference, ...]] = []

    def encode(self, prompts: Sequence[Prompt], chunks: int = 0) -> list[Conditioning]:
        self.seen += [prompt.images for prompt in prompts]
        return super().encode(prompts, chunks)

    def denoise(self, latents: Any, timesteps: Any, conditionings: Sequence[Conditioning]) -> Any:
        self.shown.append([each.shape for each in conditionings[0].references])
        shift = [sum(float(each.mean()) for each in row.references) for row in conditionings]
        moved = [
            Conditioning(row.prompt_embeds + np.float32(by), references=row.references)
            for row, by in zip(conditionings, shift, strict=True)
        ]
        return super().denoise(latents, timesteps, moved)


JOBS: list[dict[str, Any]] = [
    {"prompt": "a lake", "seed": 1, "edited": (reference(1),)},
    {"prompt": "a hill", "seed": 2, "edited": (reference(2),), "count": 2},
    {"prompt": "a wood", "seed": 3, "edited": (reference(1), reference(2, 96, 64))},
    {"prompt": "a moor", "seed": 4, "edited": (reference(3, 96, 64),), "guidance_scale": 1.0},
    {"prompt": "a fen", "seed": 5},
]


def run(job: dict[str, Any]) -> list[np.ndarray]:
    """Return the images of a job that has an engine to itself."""
    bench = Bench(Editor())
    ticket = bench.admit(**job)
    bench.run()
    return images(bench, ticket)


def test_each_call_gets_the_latents_of_all_references() -> None:
    """In their order and in their own sizes, for the prompt and the negative prompt."""
    bench = Bench(model := Editor())
    bench.admit(edited=(reference(1), reference(2, 96, 128)), steps=3)
    bench.run()
    assert model.shown == [[(4, 8, 8), (4, 16, 12)]] * len(model.shown)
    assert len(model.shown) >= 3


def test_a_reference_is_encoded_once_and_without_noise() -> None:
    """Once for all images of a task, to the mode of the posterior, so that seeds give the noise they give without."""
    bench = Bench(model := Editor())
    taken: list[np.ndarray] = []
    encode = model.encode_pixels

    def encode_pixels(pixels: Any, noise: Any) -> Any:
        assert not noise.any()
        taken.append(encode(pixels, noise)[0])
        return taken[-1][np.newaxis]

    model.encode_pixels = encode_pixels  # type: ignore[method-assign]
    bench.admit(edited=(reference(1),), count=3)
    bench.run()
    (latents,) = taken
    assert np.array_equal(
        latents[:3], (reference(1).levels[:, ::8, ::8].astype(np.float32) / 255 - np.float32(0.5)) * 8
    )


def test_another_reference_gives_another_image() -> None:
    """References count, and so does their absence."""
    made = [run({"seed": 1, "edited": edited})[0] for edited in ((reference(1),), (reference(9),), ())]
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize("max_batch", [1, 2, 8])
def test_batching_changes_nothing(max_batch: int) -> None:
    """Rows with references of equal shapes share calls; each image is bit-identical to that made alone."""
    bench = Bench(Editor(), max_batch=max_batch)
    tickets = [bench.admit(**job) for job in JOBS]
    bench.run()
    for ticket, job in zip(tickets, JOBS, strict=True):
        for ours, alone in zip(images(bench, ticket), run(job), strict=True):
            assert np.array_equal(ours, alone)
    if max_batch == 8:
        assert max(rows for name, rows in bench.model.calls if name == "denoise") == 6  # a lake and two hills, guided


def test_a_text_encoder_that_sees_them_gets_them() -> None:
    """With the prompt and with the negative prompt; others get none."""
    edited = (reference(1),)
    for seen in (384 * 384, 0):
        bench = Bench(model := Editor(ReferenceRule(most=1, fit=ReferenceFit.QWEN, seen=seen)))
        bench.admit(edited=edited)
        bench.run()
        assert model.seen == [edited if seen else ()] * 2


def test_a_result_may_start_from_an_image_and_have_references() -> None:
    """The source is encoded for each row, the reference once."""
    bench = Bench(model := Editor())
    ticket = bench.admit(edited=(reference(1),), source=Source(reference(2).levels), count=2, strength=0.5)
    bench.run()
    assert len(bench.of(ticket, Finished)) == 2
    assert [rows for name, rows in model.calls if name == "encode_pixels"] == [1, 2]


@pytest.mark.parametrize(
    ("rule", "count", "problem"),
    [
        (None, 1, "model 'exact' takes none"),
        (RULE, 3, "model 'exact' takes at most 2, not 3"),
        (ReferenceRule(most=1, fit=ReferenceFit.QWEN, required=True), 0, "is required: model 'exact' edits images"),
    ],
)
def test_the_number_of_references_must_suit_the_model(rule: Any, count: int, problem: str) -> None:
    """Models take none, up to a number, or need at least one, as files or decoded."""
    given: tuple[dict[str, Any], ...] = ({"references": (b"file",) * count}, {"edited": (reference(1),) * count})
    for fields in given:
        with pytest.raises(InvalidField, match=f"references: {problem}"):
            Bench(ExactModel(spec=spec(references=rule))).admit(**fields)


def test_a_model_that_only_edits_says_so_if_it_gets_an_image() -> None:
    """The error names the field that would be right."""
    with pytest.raises(Unsupported, match="send them as references"):
        Bench(ExactModel(spec=EDITOR)).admit(source=Source(reference(1).levels), image=b"file")


def test_encoding_references_is_timed() -> None:
    """It counts as encoding, and tasks with references have estimates of their own."""
    bench = Bench(Editor())
    plain = bench.admit(seed=1)
    bench.run()
    ticket = bench.admit(seed=1, edited=(reference(1),))
    bench.run()
    (done,) = bench.of(ticket, Completed)
    assert done.timings.encode == pytest.approx(COST["encode"] + COST["encode_pixels"])
    estimates = bench.engine._estimates
    assert estimates.encode_seconds(ticket.plan) == pytest.approx(COST["encode"] + COST["encode_pixels"])
    assert estimates.encode_seconds(plain.plan) == pytest.approx(COST["encode"])


def test_a_task_can_be_cancelled_while_references_are_encoded() -> None:
    """The encoder's output is dropped, and the next job continues."""
    bench = Bench(model := Editor())
    leaving, staying = bench.admit(**JOBS[0]), bench.admit(**JOBS[2])
    task = bench.task(leaving)
    model.on_call = lambda name, _: bench.engine.cancel(leaving) if name == "encode_pixels" else None
    bench.run()
    assert isinstance(bench.error(leaving), Cancelled)
    assert task.conditionings == ()
    assert np.array_equal(images(bench, staying)[0], run(JOBS[2])[0])
    assert bench.shelf.holds == []


def test_an_encoder_that_fails_fails_its_task_only() -> None:
    """Others complete."""

    def encode(*_: object) -> np.ndarray:
        raise GenerationFailed("no latents")

    bench = Bench(model := Editor())
    model.encode_pixels = encode  # type: ignore[assignment, method-assign]
    failing, other = bench.admit(edited=(reference(1),)), bench.admit()
    bench.run()
    assert isinstance(bench.of(failing, Failed)[0].error, GenerationFailed)
    assert bench.of(other, Completed)
