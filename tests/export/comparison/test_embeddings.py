"""Embeddings of a request give the images of diffusers with the same file in `load_textual_inversion`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from diffusers import DiffusionPipeline

from tintype.export.image_comparison import LocalService, diffusers_images
from tintype.service.engine.events import Finished
from tintype.service.errors import InvalidField
from tintype.service.job import Job
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

from tests.support.export.link_model import link_model
from tests.support.export.random_adapters import load_embedding
from tests.support.export.rounded_weights import take_weights

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

FAMILIES = ("sd15", "sdxl")
# Name -> number of vectors and key in the file; SDXL's files always have two tensors.
FILES = {"<cat>": (1, "<cat>"), "style": (3, "emb_params"), "bad-hands-5": (5, "emb_params")}
PROMPTS = {
    "one vector": ("a <cat> at sunset", "fog"),
    "several vectors": ("a lake in style, style", "fog"),
    "negative": ("a lake", "bad-hands-5, fog"),
    "both": ("x<cat>y in style <cat>", "bad-hands-5 style!"),
    "two chunks": ("a serene lake, " * 16 + "<cat> in style", "fog"),
}


@dataclass(frozen=True)
class EmbeddingPair:
    """A model's folder with embeddings, its engine, and diffusers' pipeline with the same files."""

    folder: Path
    service: LocalService
    pipeline: Any


def write(pipeline: Any, folder: Path) -> None:
    """Write the embedding files, and load them into diffusers' pipeline in the same order."""
    folder.mkdir()
    for seed, (name, (count, key)) in enumerate(FILES.items()):
        load_embedding(pipeline, folder, name, count, key, seed)


@pytest.fixture(scope="module")
def made(
    exported: Callable[..., Path], pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., EmbeddingPair]]:
    """Return a function from family and precision to a model with embeddings."""
    root = tmp_path_factory.mktemp("embeddings")
    services: list[LocalService] = []

    @cache
    def give(family: str, *options: str) -> EmbeddingPair:
        pipeline = DiffusionPipeline.from_pretrained(pipelines(family))
        folder = link_model(exported(family, *options), root / "-".join((family, *options)))
        if options:
            take_weights(pipeline, folder)
        write(pipeline, folder / "embeddings")
        services.append(LocalService([folder], exact=True))
        return EmbeddingPair(folder, services[-1], pipeline)

    yield give
    for service in services:
        service.__exit__()


def job(prompt: str, negative: str, embeddings: tuple[str, ...] = tuple(FILES)) -> Job:
    return Job(
        prompt=prompt,
        negative_prompt=negative,
        embeddings=embeddings,
        steps=3,
        seed=7,
        guidance_scale=4.0,
        width=128,
        height=128,
    )


@pytest.mark.parametrize("prompts", [name for name in PROMPTS if name != "two chunks"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_name_stands_for_its_vectors(
    family: str, prompts: str, made: Callable[..., EmbeddingPair], compare: Callable[..., None]
) -> None:
    """One vector or several, in both prompts and with several encoders: as in diffusers."""
    model, example = made(family), job(*PROMPTS[prompts])
    assert model.service.spec.embeddings == tuple(sorted(FILES))
    ours = model.service.generate(example)
    compare(ours, diffusers_images(model.pipeline, example))
    plain = model.service.generate(replace(example, embeddings=()))
    assert np.abs(ours - plain).max() * 255 > 2, "the embedding must change the image"


@pytest.mark.parametrize("options", [("fp16",), ("int8",)])
def test_rounded_weights_take_embeddings(
    options: tuple[str, ...], made: Callable[..., EmbeddingPair], compare: Callable[..., None]
) -> None:
    """A table stored in rounded form is extended by vectors that are not rounded."""
    model, example = made("sd15", *options), job(*PROMPTS["both"])
    compare(model.service.generate(example), diffusers_images(model.pipeline, example))


def together(service: LocalService, jobs: list[Job]) -> list[Any]:
    """Generate the images of jobs whose rows share the engine's calls."""
    engine = service._engine
    tasks = [engine.admit(prepare_job(example, service.spec)) for example in jobs]
    while engine.busy:
        engine.step()
    done = {task: event.pixels for task, event in engine.collect() if isinstance(event, Finished)}
    return [done[task] for task in tasks]


def test_requests_do_not_influence_each_other(made: Callable[..., EmbeddingPair], compare: Callable[..., None]) -> None:
    """With one embedding, without, and with others, in one batch: each image equals the one generated alone."""
    model = made("sd15")
    prompt = "a <cat> in style"
    jobs = [job(prompt, "fog", names) for names in (("<cat>",), (), ("style",), ("style", "<cat>"))]
    with LocalService([model.folder]) as fresh:
        shared = together(fresh, jobs)
    for example, ours in zip(jobs, shared, strict=True):
        with LocalService([model.folder]) as alone:
            compare(ours[None], alone.generate(example))
    for one in range(len(jobs)):
        for other in range(one):
            assert np.abs(shared[one] - shared[other]).max() * 255 > 2


def test_a_long_prompt_holds_embeddings(made: Callable[..., EmbeddingPair]) -> None:
    """A name in the second chunk of a prompt also stands for its vectors."""
    service, example = made("sd15").service, job(*PROMPTS["two chunks"])
    assert np.abs(service.generate(example) - service.generate(replace(example, embeddings=()))).max() * 255 > 2


def test_a_graph_without_the_input_is_refused(made: Callable[..., EmbeddingPair], tmp_path: Path) -> None:
    """A model exported earlier, or by other tools, refuses embeddings in one line with advice."""
    import onnx  # noqa: PLC0415 - only this test needs it

    model = made("sd15")
    folder = link_model(model.folder, tmp_path / "old")
    (folder / "text_encoder").unlink()
    (folder / "text_encoder").mkdir()
    for file in (model.folder / "text_encoder").iterdir():
        (folder / "text_encoder" / file.name).write_bytes(file.read_bytes())
    path = folder / "text_encoder" / "model.onnx"
    graph = onnx.load(path)
    kept = [entry for entry in graph.graph.input if entry.name != "embeddings"]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    onnx.save(graph, path)
    with LocalService([folder]) as service, pytest.raises(InvalidField, match="export the model again") as caught:
        service.generate(job(*PROMPTS["one vector"]))
    assert caught.value.field == "embeddings"
    assert "\n" not in str(caught.value)
