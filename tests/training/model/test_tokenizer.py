"""The tokenizer: it knows the words of captions, and grows without changing an id."""

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytestmark = pytest.mark.torch  # transformers is in the environment of the export

from transformers import CLIPTokenizer  # noqa: E402

from tintype.training.model.tokenizer import (  # noqa: E402
    MAX_TOKENS,
    extend_tokenizer,
    former_pieces,
    tokenize,
    train_tokenizer,
)
from tintype.training.scenes.captions import make_captions  # noqa: E402
from tintype.training.scenes.spec import make_spec  # noqa: E402

BUILTIN = Path(__file__).parents[3] / "service" / "models" / "builtin" / "tokenizer"
TEXTS = [text for seed in range(1500) for text in make_captions(make_spec(seed))]


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tokenizer that knows few words."""
    folder = tmp_path_factory.mktemp("former")
    train_tokenizer(["a red circle on a blue background", "mountain lake at sunset"], folder)
    return folder


@pytest.fixture(scope="module")
def grown(former: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of that tokenizer, extended by the words of all captions."""
    folder = tmp_path_factory.mktemp("tokenizer")
    extend_tokenizer(former, TEXTS, folder, 1500)
    return folder


def test_every_token_keeps_its_id(former: Path, grown: Path) -> None:
    """The old vocabulary is a part of the new one, with the tokens of begin and end; texts of old words are equal."""
    old, new = (json.loads((folder / "vocab.json").read_text("utf-8")) for folder in (former, grown))
    assert new.items() >= old.items()
    assert sorted(new.values()) == list(range(len(new)))
    before, after = CLIPTokenizer.from_pretrained(former), CLIPTokenizer.from_pretrained(grown)
    assert (after.bos_token_id, after.eos_token_id) == (before.bos_token_id, before.eos_token_id)
    for text in ("a red circle on a blue background", "mountain lake at sunset", "qzx", ""):
        assert after(text).input_ids == before(text).input_ids


@pytest.mark.parametrize("name", ["grown", "shipped"])
def test_every_word_of_the_captions_is_one_token(grown: Path, name: str) -> None:
    """A caption's words are one token each, captions fit into 32 tokens, and the words come back from their ids."""
    tokenizer = CLIPTokenizer.from_pretrained(grown if name == "grown" else BUILTIN)
    words = {word for text in TEXTS for word in text.split() if word.isalpha()}
    assert {word for word in words if len(tokenizer(word).input_ids) != 3} == set()
    ids = tokenizer(TEXTS).input_ids
    assert sum(len(row) > MAX_TOKENS for row in ids) < 0.001 * len(TEXTS)
    for text, row in zip(TEXTS[:200], ids[:200], strict=True):
        assert tokenizer.decode(row[1:-1]).replace(" ", "") == text.replace(" ", "")


def test_case_makes_no_difference(grown: Path) -> None:
    """Upper case and title case have the ids of lower case."""
    tokenizer = CLIPTokenizer.from_pretrained(grown)
    said = "a crimson heart over a turquoise background"
    assert tokenize(tokenizer, [said.upper(), said.title()]) == tokenize(tokenizer, [said, said])


def test_pieces_of_new_tokens_are_their_former_ids(former: Path, grown: Path) -> None:
    """An old token's pieces are itself; a new word's pieces are the ids that the old tokenizer gave it."""
    pieces = former_pieces(former, grown)
    old, new = CLIPTokenizer.from_pretrained(former), CLIPTokenizer.from_pretrained(grown)
    assert pieces[: len(old)] == [[place] for place in range(len(old))]
    for word in ("crimson", "turquoise", "automobile", "skyscrapers"):
        (token,) = new(word).input_ids[1:-1]
        assert token >= len(old)
        assert pieces[token] == old(word).input_ids[1:-1]


def test_a_tokenizer_without_a_former_one_is_trained(tmp_path: Path) -> None:
    """A tokenizer learned from nothing knows its texts' words, and a second extension by them adds nothing."""
    trained = train_tokenizer(["a red star", "a red heart"], tmp_path / "first")
    assert len(trained("a red heart").input_ids) == 5
    assert len(extend_tokenizer(tmp_path / "first", ["a red heart"], tmp_path / "second")) == len(trained)
