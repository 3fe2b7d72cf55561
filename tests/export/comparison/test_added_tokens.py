"""Pipelines with added tokens, as after textual inversion, give diffusers' images."""

from __future__ import annotations

from functools import cache
from shutil import copyfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from diffusers import DiffusionPipeline

from tintype import export
from tintype.export.image_comparison import LocalService, diffusers_images
from tintype.export.verify import Check, check_tokenizers, prompt_with_added_tokens
from tintype.service.job import Job
from tintype.service.models.text.token_splitter import WordMatcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from tests.support.export.link_model import link_model

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

ADDED = ("<cat>", "<cat>_1", "<cat>_2", "[eats]", "sks")
FLAGS: dict[str, dict[str, bool]] = {"[eats]": {"lstrip": True, "rstrip": True}, "sks": {"single_word": True}}
PROMPTS = [
    "a <cat> at sunset",
    "x<cat>y, <cat><cat>! <CAT>",
    "the sks [eats] askst, sks",
    "a <cat>_1 and [EATS][eats]",
]
ENCODERS = {"sd15": 1, "sdxl": 2, "flux_schnell": 2}


def add_tokens(tokenizer: Any, encoder: Any) -> None:
    """Add the tokens to a tokenizer, with distinctive rows in the encoder's table."""
    tokenizer.add_tokens([transformers.AddedToken(content, **FLAGS.get(content, {})) for content in ADDED])
    rows = encoder.get_input_embeddings().weight.shape[0]
    encoder.resize_token_embeddings(max(rows, len(tokenizer)), mean_resizing=False)
    table = encoder.get_input_embeddings().weight.data
    ids = tokenizer.convert_tokens_to_ids(list(ADDED))
    table[ids] = torch.randn(len(ids), table.shape[1], generator=torch.Generator().manual_seed(4)) * table.std() * 3


@pytest.fixture(scope="module")
def learned(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family to its pipeline with the tokens in all tokenizers."""
    root = tmp_path_factory.mktemp("learned")

    @cache
    def made(family: str) -> Path:
        pipeline = DiffusionPipeline.from_pretrained(pipelines(family))
        for end in ("", "_2")[: ENCODERS[family]]:
            add_tokens(getattr(pipeline, f"tokenizer{end}"), getattr(pipeline, f"text_encoder{end}"))
        pipeline.save_pretrained(root / family)
        for model in pipelines(family).glob("*/spiece.model"):  # transformers 5 leaves it out
            copyfile(model, root / family / model.parent.name / model.name)
        return root / family

    return made


def job(prompt: str, negative: str = "") -> Job:
    return Job(prompt=prompt, negative_prompt=negative, steps=3, seed=3, guidance_scale=5.0, width=128, height=128)


@pytest.mark.parametrize("family", ENCODERS)
def test_added_tokens_change_the_image(
    family: str, learned: Callable[[str], Path], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """Inside words, repeated, with several vectors and with flags, in both prompts: as in diffusers."""
    assert export.main([str(learned(family)), str(tmp_path / "out"), "--no-verify"]) == 0
    pipeline = DiffusionPipeline.from_pretrained(learned(family))
    with LocalService([link_model(tmp_path / "out", tmp_path / "small")]) as service:
        generated = [service.generate(job(prompt, PROMPTS[0])) for prompt in PROMPTS]
        settings = {"max_sequence_length": service.spec.max_tokens}
    for prompt, ours in zip(PROMPTS, generated, strict=True):
        compare(ours, diffusers_images(pipeline, job(prompt, PROMPTS[0]), **settings))
    assert np.abs(generated[0] - generated[1]).max() * 255 > 2


def test_an_export_checks_each_kind_of_token(learned: Callable[[str], Path], tmp_path: Path) -> None:
    """The compared texts hold each kind of token: a tokenizer that ignores added tokens fails."""
    pipeline = DiffusionPipeline.from_pretrained(learned("sd15"))
    for name in ("<cat>", "[eats]", "sks"):
        assert name in prompt_with_added_tokens(pipeline).split()
    pipeline.tokenizer.save_pretrained(tmp_path / "tokenizer")
    assert check_tokenizers(pipeline, tmp_path).passed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WordMatcher, "find", lambda *_: iter(()))
        failed = check_tokenizers(pipeline, tmp_path)
    assert isinstance(failed, Check)
    assert failed.difference >= 2 * len(ADDED)
    assert not failed.passed


def test_other_token_ids_fail_the_export(
    learned: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command fails before a graph is written, and names the tokenizers."""
    monkeypatch.setattr(WordMatcher, "find", lambda *_: iter(()))
    assert export.main([str(learned("sd15")), str(tmp_path / "out")]) == 1
    assert "tokenizers: 10 texts with other token ids" in capsys.readouterr().err
