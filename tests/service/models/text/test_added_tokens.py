"""Added tokens are read, and found in a text, as transformers does it; and in time that grows with the text alone."""

from __future__ import annotations

import json
import shutil
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models.odd import odd_strings, repeatable
from tintype.service.models.files import ModelFileError
from tintype.service.models.text.added_tokens import AddedToken, read
from tintype.service.models.text.clip_tokenizer import ClipTokenizer
from tintype.service.models.text.sentencepiece_tokenizer import gemma, t5
from tintype.service.models.text.token_splitter import Matcher, Splitter

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
# Content, and flags: what textual inversion makes, several vectors, and each flag.
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


def test_the_longest_word_from_the_left_is_found() -> None:
    """The matcher equals trying every word at every place, for words that overlap in all ways."""
    random_ = repeatable(2)
    for _ in range(400):
        words = {"".join(random_.choices("ab", k=random_.randint(1, 5))) for _ in range(random_.randint(1, 6))}
        text = "".join(random_.choices("abc", k=random_.randint(0, 40)))
        found, place = [], 0
        while place < len(text):
            end = place + max((len(word) for word in words if text.startswith(word, place)), default=0)
            if end > place:
                found.append((place, end))
            place = max(end, place + 1)
        assert list(Matcher(words).find(text)) == found, (words, text)


class Counting(dict[str, int]):
    """A node of the matcher that counts how often it is asked."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        Counting.asked += 1
        return super().__contains__(key)


@pytest.mark.parametrize("letters", ["a", "ab", "a a", "aaaaaaaaab"])
def test_matching_is_linear_in_the_text(letters: str) -> None:
    """Twice the text is twice the steps, with a thousand words that nearly match at every place."""
    words = ["a" * n + "b" for n in range(1, 400)] + ["a" * 399 + chr(n) for n in range(0x4E00, 0x4E00 + 600)]
    matcher = Matcher(words)
    matcher._goto = [Counting(node) for node in matcher._goto]
    steps = []
    for length in (16_000, 32_000):
        Counting.asked = 0
        list(matcher.find((letters * length)[:length]))
        steps.append(Counting.asked)
    assert steps[1] <= 2.1 * steps[0]
    assert steps[1] <= 4 * 32_000


def test_one_token_stands_for_its_vectors() -> None:
    """NAME is NAME NAME_1 NAME_2 where a splitter expands, for each of several in a row, and inside a word."""
    tokens = [AddedToken("<c>", 10), AddedToken("<c>_1", 11), AddedToken("<c>_2", 12), AddedToken("<d>", 20)]
    assert Splitter(tokens)("a <c>") == ["a ", 10]
    expanding = Splitter(tokens, expands=True)
    assert expanding("a <c>") == ["a ", 10, " ", 11, " ", 12]
    assert expanding("x<c>y<d>") == ["x", 10, " ", 11, " ", 12, "y", 20]
    assert expanding("<c>_2") == [12]


def test_many_vectors_grow_no_text_without_end() -> None:
    """A prompt of the greatest length, all of it a token of 75 vectors, gives no more ids than are ever read."""
    tokens = [AddedToken("a" if not n else f"a_{n}", n) for n in range(75)]
    ids = [part for part in Splitter(tokens, expands=True)("a" * 32_000) if isinstance(part, int)]
    assert 75 * 2460 / 75 < len(ids) < 75 * 5000


def test_further_tokens_win() -> None:
    """A request's tokens are found as the folder's are, and stand before those of the same content."""
    plain = Splitter([AddedToken("<c>", 10)])
    more = plain.extended([AddedToken("<c>", 99), AddedToken("<c>_1", 100)])
    assert more("<c>") == [99, " ", 100]
    assert plain("<c>") == [10]


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
def test_what_is_wrong_is_named(tmp_path: Path, values: dict[str, Any], problem: str) -> None:
    """A file that does not hold what transformers writes is refused, with its name."""
    config(tmp_path, **values)
    with pytest.raises(ModelFileError, match=problem):
        read(tmp_path, lambda _: None, 10)


def test_old_folders_are_read(tmp_path: Path) -> None:
    """Without added_tokens_decoder, added_tokens.json and special_tokens_map.json count; special ones get next ids."""
    (tmp_path / "added_tokens.json").write_text('{"<a>": 10, "<b>": 11}')
    special = {"additional_special_tokens": ["<b>", "<c>"], "pad_token": {"content": "!", "rstrip": True}}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    found = read(tmp_path, {"!": 3}.get, 10)
    assert {name: token.id for name, token in found.tokens.items()} == {"<a>": 10, "<b>": 11, "<c>": 12, "!": 3}
    assert (found.tokens["<a>"].special, found.tokens["<b>"].special, found.tokens["!"].rstrip) == (False, True, True)
    assert found.roles == {"pad_token": "!"}


def test_the_configuration_wins_over_older_files(tmp_path: Path) -> None:
    """With added_tokens_decoder, added_tokens.json says nothing more."""
    (tmp_path / "added_tokens.json").write_text('{"<a>": 10}')
    config(tmp_path, added_tokens_decoder={"11": {"content": "<a>", "single_word": True}})
    assert read(tmp_path, lambda _: None, 10).tokens == {"<a>": AddedToken("<a>", 11, single_word=True)}


@pytest.fixture
def saved(tokenizer_folder: Path, tmp_path: Path) -> Callable[[str], tuple[Path, Any]]:
    """Give a folder with added tokens as transformers saves it, and its own tokenizer, by the class's name."""
    transformers = pytest.importorskip("transformers")
    from tintype.export.tiny import tokenizers  # noqa: PLC0415 - it brings torch

    def made(name: str) -> tuple[Path, Any]:
        kind = getattr(transformers, name)
        source = tmp_path / "source"
        if name.startswith("CLIP"):
            shutil.copytree(tokenizer_folder, source)
        else:
            (tokenizers.t5 if name.startswith("T5") else tokenizers.gemma)().save_pretrained(source)
        theirs = kind.from_pretrained(source)
        theirs.add_tokens([transformers.AddedToken(content, **flags) for content, flags in TOKENS])
        theirs.save_pretrained(tmp_path / "saved")
        return tmp_path / "saved", kind.from_pretrained(tmp_path / "saved")

    return made


def ours(folder: Path, name: str) -> Any:
    fast = name.endswith("Fast")
    if name.startswith("CLIP"):
        return ClipTokenizer.from_folder(folder, fast=fast)
    return (t5 if name.startswith("T5") else gemma)(folder, 300, fast=fast)


KINDS = ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast")


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_two_thousand_texts_equal_the_reference(saved: Callable[[str], tuple[Path, Any]], name: str) -> None:
    """No text with added tokens differs from transformers' own class, slow or fast, for all of their flags.

    The fast T5 normalizes clusters of letters, where SentencePiece normalizes letters: without added tokens they differ
    where marks and controls stand, which are left out.
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
    """A token of three vectors gives the ids that diffusers' maybe_convert_prompt and the tokenizer give."""
    loaders = pytest.importorskip("diffusers.loaders")
    folder, theirs = saved(name)
    read_ = ClipTokenizer.from_folder if name.startswith("CLIP") else t5
    tokenizer, mixin = read_(folder, 300, expands=True), loaders.TextualInversionLoaderMixin()
    for text in texts(500):
        converted = mixin.maybe_convert_prompt(text, theirs)
        assert list(tokenizer.ids(text)) == theirs(converted, add_special_tokens=False).input_ids, ascii(text)
