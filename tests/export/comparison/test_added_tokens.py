"""Pipelines whose tokenizers know further tokens, as after textual inversion, draw what diffusers draws."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from diffusers import DiffusionPipeline

from tintype import export
from tintype.export.image_comparison import Studio, by_diffusers
from tintype.export.verify import Check, check_tokenizers, prompt_for
from tintype.service.job import Job
from tintype.service.models.text.added_tokens import Matcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from tests.support.export.linked import linked

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
    """Add the tokens to a tokenizer, and give them rows that are unlike the others."""
    tokenizer.add_tokens([transformers.AddedToken(content, **FLAGS.get(content, {})) for content in ADDED])
    rows = encoder.get_input_embeddings().weight.shape[0]
    encoder.resize_token_embeddings(max(rows, len(tokenizer)), mean_resizing=False)
    table = encoder.get_input_embeddings().weight.data
    ids = tokenizer.convert_tokens_to_ids(list(ADDED))
    table[ids] = torch.randn(len(ids), table.shape[1], generator=torch.Generator().manual_seed(4)) * table.std() * 3


@pytest.fixture(scope="module")
def learned(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a family's pipeline with the tokens in all of its tokenizers."""
    root = tmp_path_factory.mktemp("learned")

    @cache
    def made(family: str) -> Path:
        pipeline = DiffusionPipeline.from_pretrained(pipelines(family))
        for end in ("", "_2")[: ENCODERS[family]]:
            add_tokens(getattr(pipeline, f"tokenizer{end}"), getattr(pipeline, f"text_encoder{end}"))
        pipeline.save_pretrained(root / family)
        return root / family

    return made


def job(prompt: str, negative: str = "") -> Job:
    return Job(prompt=prompt, negative_prompt=negative, steps=3, seed=3, guidance_scale=5.0, width=128, height=128)


@pytest.mark.parametrize("family", ENCODERS)
def test_added_tokens_are_drawn(
    family: str, learned: Callable[[str], Path], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """Inside words, several in a row, of several vectors and with flags, in both prompts: as diffusers draws them."""
    assert export.main([str(learned(family)), str(tmp_path / "out"), "--no-verify"]) == 0
    pipeline = DiffusionPipeline.from_pretrained(learned(family))
    with Studio([linked(tmp_path / "out", tmp_path / "small")]) as studio:
        drawn = [studio.draw(job(prompt, PROMPTS[0])) for prompt in PROMPTS]
        settings = {"max_sequence_length": studio.spec.max_tokens}
    for prompt, ours in zip(PROMPTS, drawn, strict=True):
        compare(ours, by_diffusers(pipeline, job(prompt, PROMPTS[0]), **settings))
    assert np.abs(drawn[0] - drawn[1]).max() * 255 > 2


def test_an_export_checks_each_kind_of_token(learned: Callable[[str], Path], tmp_path: Path) -> None:
    """The texts and the prompt that are compared hold each kind: a tokenizer that finds no added token fails."""
    pipeline = DiffusionPipeline.from_pretrained(learned("sd15"))
    for name in ("<cat>", "[eats]", "sks"):
        assert name in prompt_for(pipeline).split()
    pipeline.tokenizer.save_pretrained(tmp_path / "tokenizer")
    assert check_tokenizers(pipeline, tmp_path).passed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Matcher, "find", lambda *_: iter(()))
        failed = check_tokenizers(pipeline, tmp_path)
    assert isinstance(failed, Check)
    assert failed.difference >= 2 * len(ADDED)
    assert not failed.passed


def test_an_export_that_reads_tokens_otherwise_fails(
    learned: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with an error before a graph is written, and names the tokenizers."""
    monkeypatch.setattr(Matcher, "find", lambda *_: iter(()))
    assert export.main([str(learned("sd15")), str(tmp_path / "out")]) == 1
    assert "tokenizers: 10 texts read otherwise" in capsys.readouterr().err
