"""Added tokens are read from a folder, and found in a text, as transformers does it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.odd import odd_strings, repeatable
from tests.support.peers.environment import save_tokenizer, token_ids
from tintype.service.models.files import ModelFileError
from tintype.service.models.text.added_tokens import AddedToken, read_added_tokens
from tintype.service.models.text.clip_tokenizer import ClipTokenizer
from tintype.service.models.text.sentencepiece_tokenizer import read_gemma, read_t5

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORDS = [
    "a",
    "cat",
    "The",
    "DOG",
    " ",
    "  ",
    "\n",
    "\t",
    ",",
    "!",
    "it's",
    "<",
    ">",
    "_1",
    "caf\xe9",
    "1",
    "-",
    "x",
    ".",
]
# Contents and flags: tokens as textual inversion makes them, tokens of several vectors, and each flag.
TOKENS: list[tuple[str, dict[str, bool]]] = [
    ("<cat-toy>", {}),
    ("<cat-toy>_1", {}),
    ("<cat-toy>_2", {}),
    ("<Mixed Case>", {}),
    ("sks", {"single_word": True}),
    ("[left]", {"lstrip": True, "normalized": False}),
    ("[right]", {"rstrip": True, "normalized": False}),
    ("[both]", {"lstrip": True, "rstrip": True}),
    ("[word]", {"single_word": True, "lstrip": True, "rstrip": True}),
    ("<s1>", {"special": True, "normalized": False}),
    ("\xe9toile", {}),
]


def texts(count: int, *, plain: bool = False) -> Iterator[str]:
    """Yield texts with added tokens inside words, next to punctuation, in upper case, and several in a row."""
    random_, tokens = repeatable(5), [content for content, _ in TOKENS]
    odd = [text for text in odd_strings(200) if "<|" not in text]
    odd = [text for text in odd if not (plain and any(unicodedata.category(c)[0] in "MC" for c in text))]
    for _ in range(count):
        parts = [
            random_.choice(
                [*tokens, *tokens, *(token.upper() for token in tokens), *WORDS, *WORDS, random_.choice(odd)]
            )
            for _ in range(random_.randint(1, 9))
        ]
        yield random_.choice(["", " "]).join(parts)


def config(folder: Path, **values: Any) -> None:
    """Change a tokenizer's configuration."""
    path = folder / "tokenizer_config.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | values), "utf-8")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"added_tokens_decoder": [1]}, "added_tokens_decoder must be an object"),
        ({"added_tokens_decoder": {"x": {"content": "<a>"}}}, "an id must be a whole number, at least 0, not 'x'"),
        ({"added_tokens_decoder": {"7": {"lstrip": True}}}, "must hold tokens with their content"),
        ({"added_tokens_decoder": {"7": {"content": "<a>", "lstrip": "yes"}}}, "flags of '<a>' must be true or false"),
        ({"truncation_side": "left"}, "truncation_side must be right, not 'left'"),
        ({"additional_special_tokens": "<a>"}, "additional_special_tokens must be a list"),
    ],
)
def test_wrong_files_are_rejected(tmp_path: Path, values: dict[str, Any], problem: str) -> None:
    """A file that does not hold what transformers writes is rejected, with the field."""
    config(tmp_path, **values)
    with pytest.raises(ModelFileError, match=problem):
        read_added_tokens(tmp_path, lambda _: None, 10)


def test_old_folders_are_read(tmp_path: Path) -> None:
    """Without added_tokens_decoder, the two older files are read; special tokens get the next free ids."""
    (tmp_path / "added_tokens.json").write_text('{"<a>": 10, "<b>": 11}')
    special = {"additional_special_tokens": ["<b>", "<c>"], "pad_token": {"content": "!", "rstrip": True}}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    found = read_added_tokens(tmp_path, {"!": 3}.get, 10)
    assert {name: token.id for name, token in found.tokens.items()} == {"<a>": 10, "<b>": 11, "<c>": 12, "!": 3}
    assert (found.tokens["<a>"].special, found.tokens["<b>"].special, found.tokens["!"].rstrip) == (False, True, True)
    assert found.roles == {"pad_token": "!"}


def test_the_configuration_overrides_older_files(tmp_path: Path) -> None:
    """With added_tokens_decoder, added_tokens.json is ignored."""
    (tmp_path / "added_tokens.json").write_text('{"<a>": 10}')
    config(tmp_path, added_tokens_decoder={"11": {"content": "<a>", "single_word": True}})
    found = read_added_tokens(tmp_path, lambda _: None, 10)
    assert found.tokens == {"<a>": AddedToken("<a>", 11, single_word=True)}


@pytest.fixture
def saved(tokenizer_folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function of a class's name to a folder with added tokens that transformers 4 saved."""

    def save(name: str) -> Path:
        from tintype.export.tiny import tokenizers  # noqa: PLC0415 - imports torch

        source = tokenizer_folder
        if not name.startswith("CLIP"):
            tokenizer = tokenizers.t5() if name.startswith("T5") else tokenizers.gemma()
            source = Path(tokenizer.name_or_path)
        save_tokenizer(name, source, tmp_path / "saved", dict(TOKENS))
        return tmp_path / "saved"

    return save


def ours(folder: Path, name: str, *, expands: bool = False) -> Any:
    fast = name.endswith("Fast")
    if name.startswith("CLIP"):
        return ClipTokenizer.from_folder(folder, fast=fast, expands=expands)
    return (read_t5 if name.startswith("T5") else read_gemma)(folder, 300, fast=fast, expands=expands)


CLASSES = (
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "T5Tokenizer",
    "T5TokenizerFast",
    "GemmaTokenizer",
    "GemmaTokenizerFast",
)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CLASSES)
def test_two_thousand_texts_equal_the_reference(saved: Callable[[str], Path], name: str) -> None:
    """Texts with added tokens of all flags give the ids of the slow class of transformers 4, or the fast one of 5.

    The fast T5 class normalizes clusters of letters, and SentencePiece single letters. Without added tokens they differ
    at combining marks and control characters, so texts for the fast T5 have none.
    """
    folder = saved(name)
    tokenizer = ours(folder, name)
    assert {token.content for token in tokenizer.added} >= {content for content, _ in TOKENS}
    given = list(texts(2000, plain=name == "T5TokenizerFast"))
    for text, ids in zip(given, reference(folder, name, given), strict=True):
        assert list(tokenizer.ids(text)) == ids, ascii(text)


def reference(folder: Path, name: str, given: list[str]) -> list[list[int]]:
    """Return the ids of texts by the named class: only transformers 4 has slow ones, and 5 has the newest fast ones."""
    if not name.endswith("Fast"):
        return token_ids(name, folder, given, add_special_tokens=False)
    tokenizer = getattr(pytest.importorskip("transformers"), name).from_pretrained(folder)
    return [tokenizer(text, add_special_tokens=False).input_ids for text in given]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["CLIPTokenizerFast", "T5TokenizerFast"])
def test_several_vectors_equal_diffusers(saved: Callable[[str], Path], name: str) -> None:
    """A token of three vectors gives the ids of diffusers' maybe_convert_prompt followed by the tokenizer."""
    loaders, transformers = pytest.importorskip("diffusers.loaders"), pytest.importorskip("transformers")
    folder, mixin = saved(name), loaders.TextualInversionLoaderMixin()
    tokenizer, theirs = ours(folder, name, expands=True), getattr(transformers, name).from_pretrained(folder)
    for text in texts(500, plain=True):
        converted = mixin.maybe_convert_prompt(text, theirs)
        assert list(tokenizer.ids(text)) == theirs(converted, add_special_tokens=False).input_ids, ascii(text)
