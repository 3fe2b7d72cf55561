"""Prompts are framed by chat templates, cut off and padded as diffusers' pipelines do it."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.complexity import check_linear
from tests.support.models.byte_level import learnt, write_mistral, write_qwen
from tests.support.models.chat_templates import MISTRAL_SMALL_TEMPLATE, QWEN3_TEMPLATE
from tests.support.models.graphs import NONE, TextGraph, as_session
from tests.support.models.odd import odd_strings
from tintype.service.errors import InvalidField
from tintype.service.models import Prompt
from tintype.service.models.family import ChatTemplate, Padding, TextEncoderSpec
from tintype.service.models.files import ModelFileError
from tintype.service.models.text import chat_templates
from tintype.service.models.text.byte_level_tokenizer import QWEN2, TEKKEN, read_byte_level
from tintype.service.models.text.combine import masked_embeds
from tintype.service.models.text.encoder import TextEncoder
from tintype.service.models.text.encoders import TextEncoders
from tintype.service.models.text.tokenizers import MISTRAL, QWEN

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.text.byte_level_tokenizer import ByteLevelTokenizer
    from tintype.service.models.text.encoder import Chunk

UNPADDED = Padding(block=1)
USER = ChatTemplate("<|im_start|>user\n", "<|im_end|>\n")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mistral(tmp_path_factory.mktemp("mistral"))


def encoder(folder: Path, length: int = 512, graph: TextGraph | None = None, **spec: Any) -> TextEncoder:
    values: dict[str, Any] = {"tokenizer_kind": QWEN, "padding": UNPADDED} | spec
    session = as_session(graph or TextGraph(masked=True))
    return TextEncoder(read_byte_level(folder, length), session, TextEncoderSpec(**values), NONE)


def chunk(encoder: TextEncoder, text: str, **prompt: Any) -> Chunk:
    (read,) = encoder.read(Prompt(text, **prompt))
    return read


def spelled(tokenizer: ByteLevelTokenizer, *parts: str) -> tuple[int, ...]:
    """Return the ids of control tokens and texts."""
    return tuple(
        number
        for part in parts
        for number in ([tokenizer.controls[part]] if part in tokenizer.controls else tokenizer.ids(part))
    )


def test_control_tokens_of_the_template_are_ids(qwen: Path) -> None:
    """The template's control tokens are single ids; the same ones in the prompt are text."""
    ids = read_byte_level(qwen, 512)
    read = chunk(encoder(qwen, template=USER), "a <|im_end|> b")
    assert read.tokens.ids == spelled(ids, "<|im_start|>", "user\na <|im_end|> b", "<|im_end|>", "\n")
    assert read.tokens.ids.count(ids.controls["<|im_end|>"]) == 1


def test_template_and_prompt_share_tokens(qwen: Path) -> None:
    """Text between two control tokens is tokenized at once."""
    read = chunk(encoder(qwen, template=USER), "\n\nx")
    assert read.tokens.ids == spelled(read_byte_level(qwen, 9), "<|im_start|>", "user\n\n\nx", "<|im_end|>", "\n")


def test_the_prompts_own_tokens_are_counted(qwen: Path) -> None:
    """The template's tokens, those of the instruction and padding are not counted; nor is what is cut off."""
    own = len(list(read_byte_level(qwen, 512).ids("a cat")))
    encode = encoder(qwen, template=chat_templates.QWEN_IMAGE, drop=10)
    assert chunk(encode, "a cat").prompt_tokens == own
    assert chunk(encode, "").prompt_tokens == 0
    assert chunk(encoder(qwen, template=USER, padding=Padding()), "a cat").prompt_tokens == own
    assert chunk(encoder(qwen, 5, template=USER), "cat " * 50).prompt_tokens == 5 - len(
        spelled(read_byte_level(qwen, 9), "<|im_start|>", "user\n")
    )
    (made,) = TextEncoders([encode], masked_embeds).encode([Prompt("a cat")])
    assert made.tokens == own


@pytest.mark.parametrize("length", [3, 5, 8, 9, 40])
def test_long_prompts_are_cut_off_on_the_right(qwen: Path, length: int) -> None:
    """The limit includes the template, whose end is cut off too, but not the dropped tokens."""
    whole = chunk(encoder(qwen, template=USER), "a photo of a horse").tokens.ids
    cut = chunk(encoder(qwen, length, template=USER), "a photo of a horse").tokens
    assert cut.ids == whole[:length]
    dropping = chunk(encoder(qwen, length, template=USER, drop=2), "a photo of a horse").tokens
    assert dropping.ids == whole[: length + 2]


def test_dropped_tokens_are_left_out_of_the_result(qwen: Path) -> None:
    """The first tokens are encoded, but neither their embeddings nor their mask come out."""
    encode = encoder(qwen, template=chat_templates.QWEN_IMAGE, drop=7)
    read = chunk(encode, "a cat")
    made = encode.encode([read])
    assert made.embeds.ravel().tolist() == list(read.tokens.ids[7:])
    assert made.mask is not None
    assert made.mask.tolist() == [1] * (len(read.tokens.ids) - 7)


@pytest.mark.parametrize(
    ("padding", "multiple", "at"),
    [
        (Padding(), 32, "right"),
        (Padding(left=True), 32, "left"),
        (Padding(block=7), 7, "right"),
        (Padding(block=7, left=True), 7, "left"),
        (Padding(block=1), 1, "right"),
        (Padding(inner=True), 32, "inner"),
    ],
)
def test_padding(qwen: Path, padding: Padding, multiple: int, at: str) -> None:
    """Prompts are padded to the length, to whole blocks, or not; on one side or before the template's end."""
    ids = read_byte_level(qwen, 512)
    head, tail = spelled(ids, "<|im_start|>", "user\na cat"), spelled(ids, "<|im_end|>", "\n")
    pad = (ids.controls["<|endoftext|>"],) * (-(len(head) + len(tail)) % multiple)
    expected = {"right": (head, tail, pad), "left": (pad, head, tail), "inner": (head, pad, tail)}[at]
    read = chunk(encoder(qwen, 32, template=USER, padding=padding), "a cat").tokens
    assert read.ids == (*expected[0], *expected[1], *expected[2])
    assert read.mask.tolist() == [int(part is not pad) for part in expected for _ in part]
    assert read.ids[read.first : read.first + read.count] == tuple(ids.ids("a cat"))


def test_inner_padding_keeps_the_templates_end(qwen: Path) -> None:
    """A long prompt is cut off before it."""
    ids = read_byte_level(qwen, 512)
    read = chunk(encoder(qwen, 8, template=USER, padding=Padding(inner=True)), "cat " * 30).tokens
    assert (len(read.ids), read.ids[-2:]) == (8, spelled(ids, "<|im_end|>", "\n"))
    assert read.count == 8 - 2 - len(spelled(ids, "<|im_start|>", "user\n"))


def test_the_templates_end_is_kept_before_padding(qwen: Path) -> None:
    """A long prompt is cut off before the end of a template that is kept whole; padding follows it."""
    ids = read_byte_level(qwen, 512)
    padding = Padding(block=8, whole=True)
    cut = chunk(encoder(qwen, 8, template=USER, padding=padding), "cat " * 30).tokens
    assert cut.ids[-2:] == spelled(ids, "<|im_end|>", "\n")
    whole = spelled(ids, "<|im_start|>", "user\na cat", "<|im_end|>", "\n")
    read = chunk(encoder(qwen, 512, template=USER, padding=padding), "a cat").tokens
    assert (read.ids[: len(whole)], len(read.ids) % 8) == (whole, 0)
    assert read.mask.tolist() == [1] * len(whole) + [0] * (len(read.ids) - len(whole))


def test_an_instruction_precedes_the_prompt(qwen: Path) -> None:
    """It stands between the template and the prompt, and not in negative prompts."""
    ids = read_byte_level(qwen, 512)
    encode = encoder(qwen, template=USER, instruction="[Generate]: ")
    read, negative = (chunk(encode, "a cat", negative=negative).tokens.ids for negative in (False, True))
    assert read == spelled(ids, "<|im_start|>", "user\n[Generate]: a cat", "<|im_end|>", "\n")
    assert negative == spelled(ids, "<|im_start|>", "user\na cat", "<|im_end|>", "\n")


def test_a_bare_prompt_is_tokenized_apart_from_its_template(qwen: Path) -> None:
    """The template neither counts nor comes out; pieces of the prompt share no token."""
    spec: dict[str, Any] = {"template": chat_templates.LONGCAT_IMAGE, "bare": True, "padding": Padding(inner=True)}
    encode = encoder(qwen, 9, pieces=list, **spec)
    read = chunk(encode, "\nhorse")
    ids = read_byte_level(qwen, 512)
    own = tuple(number for letter in "\nhorse" for number in ids.ids(letter))
    made = encode.encode([read])
    assert made.embeds.ravel()[: len(own)].tolist() == list(own)
    assert made.mask is not None
    assert made.mask.tolist() == [1] * len(own) + [0] * (9 - len(own))
    assert read.prompt_tokens == len(own)
    whole = chunk(encoder(qwen, 9, pieces=lambda text: [text], **spec), "\nhorse").tokens
    assert whole.count < read.prompt_tokens
    assert chunk(encode, "a horse, a horse").tokens.count == 9


def test_weights_apply_to_the_pieces(qwen: Path) -> None:
    """Each token of a bare prompt has the weight of its text."""
    spec: dict[str, Any] = {"template": chat_templates.LONGCAT_IMAGE, "bare": True, "padding": Padding(inner=True)}
    read = chunk(encoder(qwen, 9, pieces=list, **spec), "ab(c:2)", weighted=True)
    assert read.prompt_weights == (1, 1, 2)


def test_the_folder_names_the_side(mistral: Path) -> None:
    """Mistral's configuration says that padding stands on the left; blocks are padded as the family says."""
    spec: dict[str, Any] = {"tokenizer_kind": MISTRAL, "template": chat_templates.FLUX2_DEV}
    full = chunk(encoder(mistral, 200, padding=Padding(), **spec), "a cat").tokens
    assert (full.mask[0], full.mask[-1], len(full.ids)) == (0, 1, 200)
    blocks = chunk(encoder(mistral, 200, padding=Padding(block=64), **spec), "a cat").tokens
    assert (blocks.mask[0], blocks.mask[-1]) == (1, 0)


def test_the_tokenizers_own_control_tokens(mistral: Path) -> None:
    """They frame a prompt without a template, and one whose template does not begin with a control token."""
    ids = read_byte_level(mistral, 512)
    plain = chunk(encoder(mistral, tokenizer_kind=MISTRAL), "a cat").tokens
    assert plain.ids == (ids.controls["<s>"], *ids.ids("a cat"))
    assert (plain.first, plain.count) == (1, len(plain.ids) - 1)
    lumina = chunk(encoder(mistral, template=ChatTemplate("You are ", "")), "a cat").tokens
    assert lumina.ids == (ids.controls["<s>"], *ids.ids("You are a cat"))
    begun = chunk(encoder(mistral, template=ChatTemplate("<s>[INST]", "[/INST]")), "a cat").tokens
    assert begun.ids == spelled(ids, "<s>", "[INST]", "a cat", "[/INST]")


def test_negative_prompts(qwen: Path) -> None:
    """An empty one may be replaced; a family may frame none."""
    spec: dict[str, Any] = {"template": USER, "empty_negative": " "}
    encode = encoder(qwen, **spec)
    assert chunk(encode, "", negative=True).tokens == chunk(encode, " ").tokens
    assert chunk(encode, "").tokens != chunk(encode, " ").tokens
    lumina = encoder(qwen, template=chat_templates.LUMINA2)
    assert chunk(lumina, "fog", negative=True).tokens.ids == tuple(read_byte_level(qwen, 9).ids("fog"))
    assert len(chunk(lumina, "fog").tokens.ids) > 30


def test_an_empty_prompt_has_one_token(qwen: Path) -> None:
    """Without a template, padding stands for it."""
    read = chunk(encoder(qwen), "").tokens
    assert (len(read.ids), read.count, read.mask.tolist()) == (1, 0, [0])


def test_weights_apply_to_the_prompts_tokens(qwen: Path) -> None:
    """A weighted part is tokenized by itself, and its embeddings are multiplied; the mean of the result is kept."""
    ids = read_byte_level(qwen, 512)
    encode = encoder(qwen, template=USER, drop=1)
    read = chunk(encode, "a (cat:2), dog", weighted=True)
    parts = [list(ids.ids(part)) for part in ("user\na ", "cat", ", dog")]
    assert read.tokens.ids[:1] == spelled(ids, "<|im_start|>")
    assert [*read.tokens.ids[1:]] == [*chain(*parts), *spelled(ids, "<|im_end|>", "\n")]
    plain = np.array(read.tokens.ids[1:], np.float32)
    weights = np.ones_like(plain)
    weights[len(parts[0]) : len(parts[0]) + len(parts[1])] = 2
    made = encode.encode([read]).embeds.ravel()
    assert made == pytest.approx(plain * weights * plain.mean() / (plain * weights).mean(), rel=1e-6)
    same = chunk(encode, "a (cat:1), dog", weighted=True)
    assert same.tokens.ids == chunk(encode, "a cat, dog").tokens.ids
    assert same.prompt_weights == ()


def test_break_is_left_out(qwen: Path) -> None:
    """The texts around a BREAK share no token."""
    ids = read_byte_level(qwen, 512)
    read = chunk(encoder(qwen, template=USER), "a ca BREAK t b", weighted=True)
    assert read.tokens.ids == (
        *spelled(ids, "<|im_start|>", "user\na ca"),
        *spelled(ids, "t b", "<|im_end|>", "\n"),
    )


def test_positions_count_without_padding(qwen: Path) -> None:
    """Graphs that take positions get those of the tokens; padding on the left is at 0."""
    graph = TextGraph(placed=True)
    encode = encoder(qwen, 8, graph, padding=Padding(left=True))
    encode.encode([chunk(encode, "a c")])
    assert graph.fed["position_ids"].tolist() == [[0] * 6 + [0, 1]]


def test_a_tokenizer_without_the_control_tokens_is_refused(mistral: Path) -> None:
    """The error names the folder and the first control token of the template that is missing."""
    with pytest.raises(ModelFileError, match=r"tokenizer has no control token '<\|im_start\|>'"):
        encoder(mistral, template=USER)


@pytest.mark.parametrize("worst", ["a", "\n", "a(", "()", "<|im_start|>", "BREAK ", "[a:1.2] "])
def test_the_worst_prompt_takes_linear_work(qwen: Path, worst: str) -> None:
    """Reading twice the prompt takes at most about twice the work."""
    encode = encoder(qwen, template=chat_templates.Z_IMAGE)

    def read(text: str) -> None:
        with suppress(InvalidField):
            encode.read(Prompt(text, weighted=True))

    check_linear(read, lambda n: worst * (n // len(worst)), 32_000)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("template", "thinking"), [(chat_templates.Z_IMAGE, True), (chat_templates.FLUX2_KLEIN, False)]
)
def test_qwens_own_template_is_equal(tmp_path: Path, template: ChatTemplate, thinking: bool) -> None:  # noqa: FBT001
    """What Qwen3's published template makes of 2,000 odd strings, tokenized and cut off, has the same ids."""
    tokenizer = fast(write_qwen(tmp_path, *learnt(QWEN2, nfc=True)), QWEN3_TEMPLATE)
    encode = encoder(tmp_path, 40, template=template)
    for text in plain_strings(tokenizer, 2000):
        message = [{"role": "user", "content": text}]
        said = tokenizer.apply_chat_template(
            message, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
        assert said == template.before + text + template.after
        expected = tokenizer(said, truncation=True, max_length=40).input_ids
        assert list(chunk(encode, text).tokens.ids) == expected, ascii(text)


@pytest.mark.torch
def test_mistrals_own_template_is_equal(tmp_path: Path) -> None:
    """What the published template of Mistral Small 3 makes of FLUX.2's messages, padded, has the same ids and mask."""
    system = pytest.importorskip("diffusers.pipelines.flux2.system_messages").SYSTEM_MESSAGE
    tokenizer = fast(write_mistral(tmp_path, *learnt(TEKKEN, nfc=False)), MISTRAL_SMALL_TEMPLATE)
    encode = encoder(
        tmp_path, 80, tokenizer_kind=MISTRAL, template=chat_templates.FLUX2_DEV, padding=Padding(left=True)
    )
    for text in plain_strings(tokenizer, 2000):
        contents = (("system", system), ("user", text))
        message = [{"role": role, "content": [{"type": "text", "text": content}]} for role, content in contents]
        said = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=False)
        assert said == chat_templates.FLUX2_DEV.before + text + chat_templates.FLUX2_DEV.after
        expected = tokenizer(said, add_special_tokens=False, padding="max_length", truncation=True, max_length=80)
        read = chunk(encode, text).tokens
        assert list(read.ids) == expected.input_ids, ascii(text)
        assert read.mask.tolist() == expected.attention_mask


@pytest.mark.torch
def test_templates_are_those_of_the_pipelines() -> None:
    """The texts of the pipelines are those of the installed diffusers."""
    diffusers = pytest.importorskip("diffusers")
    edit, plus = chat_templates.QWEN_IMAGE_EDIT, chat_templates.QWEN_IMAGE_EDIT_PLUS
    for pipeline, template, image, drop in (
        (diffusers.QwenImagePipeline(*[None] * 5), chat_templates.QWEN_IMAGE, "", chat_templates.QWEN_IMAGE_DROP),
        (diffusers.QwenImageEditPipeline(*[None] * 6), edit, edit.image, chat_templates.QWEN_IMAGE_EDIT_DROP),
        (diffusers.QwenImageEditPlusPipeline(*[None] * 6), plus, "", chat_templates.QWEN_IMAGE_EDIT_DROP),
    ):
        assert pipeline.prompt_template_encode == template.before + image + "{}" + template.after
        assert pipeline.prompt_template_encode_start_idx == drop
    ovis = diffusers.OvisImagePipeline(*[None] * 5)
    assert chat_templates.OVIS_IMAGE.before == f"<|im_start|>user\n{ovis.system_prompt}"
    assert ovis.user_prompt_begin_id == chat_templates.OVIS_IMAGE_DROP
    krea = diffusers.Krea2Pipeline(*[None] * 5)
    assert krea.prompt_template_encode_prefix == chat_templates.QWEN_IMAGE.before
    assert krea.prompt_template_encode_suffix == chat_templates.QWEN_IMAGE.after
    dream = diffusers.DreamLitePipeline(*[None] * 6)
    whole = f"{chat_templates.QWEN_IMAGE.before}{{}}{chat_templates.QWEN_IMAGE.after}"
    assert dream.prompt_template_encode_generate == whole
    longcat = diffusers.LongCatImagePipeline(*[None] * 6)
    assert longcat.prompt_template_encode_prefix == chat_templates.LONGCAT_IMAGE.before
    assert longcat.prompt_template_encode_suffix == chat_templates.LONGCAT_IMAGE.after
    lumina = diffusers.Lumina2Pipeline(None, None, None, None, None)
    assert f"{lumina.system_prompt} <Prompt Start> " == chat_templates.LUMINA2.before


def fast(folder: Path, template: str) -> Any:
    """Return transformers' fast tokenizer of a folder, with a chat template."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = template
    return tokenizer


def plain_strings(tokenizer: Any, count: int) -> list[str]:
    """Return odd strings without control tokens, which transformers would find in them."""
    return [text for text in odd_strings(count) if not any(name in text for name in tokenizer.all_special_tokens)]
