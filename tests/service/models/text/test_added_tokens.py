"""Added tokens are read from a folder, and found in a text, as transformers does it."""

from __future__ import annotations

import json
import shutil
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.odd import odd_strings, repeatable
from tintype.service.models.files import ModelFileError
from tintype.service.models.text.added_tokens import AddedToken, read_added_tokens
from tintype.service.models.text.clip_tokenizer import ClipTokenizer
from tintype.service.models.text.sentencepiece_tokenizer import read_gemma, read_t5

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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
def saved(tokenizer_folder: Path, tmp_path: Path) -> Callable[[str], tuple[Path, Any]]:
    """Return a function of a class's name: a folder with added tokens that transformers saved, and its tokenizer."""
    transformers = pytest.importorskip("transformers")
    from tintype.export.tiny import tokenizers  # noqa: PLC0415 - imports torch

    def save(name: str) -> tuple[Path, Any]:
        class_ = getattr(transformers, name)
        source = tmp_path / "source"
        if name.startswith("CLIP"):
            shutil.copytree(tokenizer_folder, source)
        else:
            (tokenizers.t5 if name.startswith("T5") else tokenizers.gemma)().save_pretrained(source)
        theirs = class_.from_pretrained(source)
        theirs.add_tokens([transformers.AddedToken(content, **flags) for content, flags in TOKENS])
        theirs.save_pretrained(tmp_path / "saved")
        return tmp_path / "saved", class_.from_pretrained(tmp_path / "saved")

    return save


def ours(folder: Path, name: str) -> Any:
    fast = name.endswith("Fast")
    if name.startswith("CLIP"):
        return ClipTokenizer.from_folder(folder, fast=fast)
    return (read_t5 if name.startswith("T5") else read_gemma)(folder, 300, fast=fast)


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
def test_two_thousand_texts_equal_the_reference(saved: Callable[[str], tuple[Path, Any]], name: str) -> None:
    """Texts with added tokens of all flags give the ids of transformers' own class, slow or fast.

    The fast T5 class normalizes clusters of letters, and SentencePiece single letters. Without added tokens they differ
    at combining marks and control characters, so texts for the fast T5 have none.
    """
    folder, theirs = saved(name)
    tokenizer = ours(folder, name)
    assert {token.content for token in tokenizer.added} >= {content for content, _ in TOKENS}
    for text in texts(2000, plain=name == "T5TokenizerFast"):
        assert list(tokenizer.ids(text)) == theirs(text, add_special_tokens=False).input_ids, ascii(text)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["CLIPTokenizer", "T5Tokenizer"])
def test_several_vectors_equal_diffusers(saved: Callable[[str], tuple[Path, Any]], name: str) -> None:
    """A token of three vectors gives the ids of diffusers' maybe_convert_prompt followed by the tokenizer."""
    loaders = pytest.importorskip("diffusers.loaders")
    folder, theirs = saved(name)
    read = ClipTokenizer.from_folder if name.startswith("CLIP") else read_t5
    tokenizer, mixin = read(folder, 300, expands=True), loaders.TextualInversionLoaderMixin()
    for text in texts(500):
        converted = mixin.maybe_convert_prompt(text, theirs)
        assert list(tokenizer.ids(text)) == theirs(converted, add_special_tokens=False).input_ids, ascii(text)
