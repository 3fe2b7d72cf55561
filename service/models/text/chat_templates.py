"""Chat templates of the language models that encode prompts, and how a prompt is framed by one.

The templates are the texts that diffusers' pipelines (0.42) make for one message. Control tokens stand as they are
spelled in the tokenizer's files. The text between two control tokens is tokenized at once, across the border of
template and prompt: after "user" and a line break, a prompt that begins with a line break shares a token with it.
Control tokens in the prompt itself are text.
"""

from __future__ import annotations

import re
from itertools import groupby, islice
from typing import TYPE_CHECKING

from ..family import ChatTemplate
from ..files import ModelFileError
from .tokenizer import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..family import Padding, TextEncoderSpec
    from .prompt_weights import WeightedText
    from .tokenizer import Tokenizer

IMAGE_PAD = "<|image_pad|>"
_IMAGE = f"<|vision_start|>{IMAGE_PAD}<|vision_end|>"
_ANSWER = "<|im_end|>\n<|im_start|>assistant\n"

# Qwen3's own template for one message of the user: ZImagePipeline asks for `enable_thinking=True`, Flux2KleinPipeline
# for False. Both cut at 512 tokens, the template included.
Z_IMAGE = ChatTemplate("<|im_start|>user\n", _ANSWER)
FLUX2_KLEIN = ChatTemplate("<|im_start|>user\n", f"{_ANSWER}<think>\n\n</think>\n\n")
# The same for OvisImagePipeline, which puts an instruction before the prompt. It cuts at 256 tokens behind the 28 of
# `before`.
OVIS_IMAGE = ChatTemplate(
    "<|im_start|>user\nDescribe the image by detailing the color, quantity, text, shape, size, texture, spatial "
    "relationships of the objects and background: ",
    FLUX2_KLEIN.after,
)
OVIS_IMAGE_DROP = 28
# From LongCatImagePipeline, which tokenizes the prompt apart from the template, and reads 512 tokens of it.
LONGCAT_IMAGE = ChatTemplate(
    "<|im_start|>system\nAs an image captioning expert, generate a descriptive text prompt based on an image content, "
    "suitable for input to a text-to-image model.<|im_end|>\n<|im_start|>user\n",
    _ANSWER,
)
# Mistral Small 3's own template for a message of the system (diffusers' flux2/system_messages.py) and one of the user,
# without an answer. Flux2Pipeline cuts at 512 tokens, the template included.
FLUX2_DEV = ChatTemplate(
    "<s>[SYSTEM_PROMPT]You are an AI that reasons about image descriptions. You give structured responses focusing on "
    "object relationships, object\nattribution and actions without speculation.[/SYSTEM_PROMPT][INST]",
    "[/INST]",
)
# From QwenImagePipeline. It cuts at 1024 tokens behind the 34 of `before`, and keeps the first 512 of them.
QWEN_IMAGE = ChatTemplate(
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n",
    _ANSWER,
)
QWEN_IMAGE_DROP = 34
# Krea2Pipeline and DreamLitePipeline frame prompts so as well; the first never cuts off the end.
# From QwenImageEditPipeline, which reads one image, and QwenImageEditPlusPipeline. They cut nothing off.
_EDIT = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n"
)
QWEN_IMAGE_EDIT = ChatTemplate(_EDIT, _ANSWER, image=_IMAGE)
QWEN_IMAGE_EDIT_PLUS = ChatTemplate(_EDIT, _ANSWER, image=f"Picture {{}}: {_IMAGE}")
QWEN_IMAGE_EDIT_DROP = 64
# From Lumina2Pipeline, which frames no negative prompt. It cuts at 256 tokens, the template included.
LUMINA2 = ChatTemplate(
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts. <Prompt Start> ",
    "",
    negative=False,
)
_PLAIN = ChatTemplate("", "")
_CONTROL = re.compile(r"<\|\w+\|>|\[/?[A-Z_]+\]|</?s>")


def check_template(spec: TextEncoderSpec, tokenizer: Tokenizer) -> None:
    """Raise ModelFileError if the tokenizer lacks a control token of the template."""
    for name in _CONTROL.findall("".join(spec.template[:3]) if spec.template else ""):
        if name not in tokenizer.controls:
            raise ModelFileError(f"{spec.tokenizer} has no control token {name!r}, which the family's template needs")


def frame_prompt(
    spec: TextEncoderSpec,
    tokenizer: Tokenizer,
    sections: Sequence[Sequence[WeightedText]],
    *,
    negative: bool = False,
    images: str = "",
) -> tuple[Tokens, tuple[float, ...]]:
    """Return the ids of a prompt in its template, cut off on the right and padded, and weights from its first id on.

    Args:
        spec: Its template, padding and `drop`.
        tokenizer: Its control tokens frame the whole, unless the template itself begins with one.
        sections: The prompt's texts with their weights. Texts of different weights or sections share no token.
        negative: Whether it is a negative prompt.
        images: The text of images, between the template's `before` and the prompt.
    """
    template = spec.template if spec.template and (spec.template.negative or not negative) else _PLAIN
    before, after = tokenizer.split_controls(template.before + images), tokenizer.split_controls(template.after)
    own_before, own_after = ((), ()) if before and isinstance(before[0], int) else tokenizer.own_controls
    sections, inner = _apart(spec.pieces, sections), spec.padding.inner
    skipped, behind = len(list(_ids(tokenizer, before))), list(_ids(tokenizer, after))
    whole = inner or spec.padding.whole
    tail = behind if whole else []
    frame = len(own_before) + len(own_after) + len(tail)
    limit = tokenizer.max_tokens + (frame + skipped if spec.bare else spec.drop) + images.count(IMAGE_PAD)
    room = limit - frame
    # The prompt's own count is known only if the template's end is read as well, although it may be cut off.
    more = len(behind) - len(tail)
    read = list(islice(_weighted_ids(tokenizer, before, sections, () if whole else after), room + more))
    body = [number for number, _ in read[:room]]
    ids = [*own_before, *body, *tail, *own_after]
    length = _length(spec.padding, len(ids), spec.drop, limit)
    left = _pads_left(spec.padding, tokenizer)
    at = 0 if left else len(own_before) + len(body) if inner else len(ids)
    first = len(own_before) + skipped + (length - len(ids)) * left
    count = max(min(len(read) - more, room) - skipped, 0)
    tokens = Tokens(tokenizer.padded(ids, length, at), count, first, len(ids), at)
    return tokens, tuple(weight for _, weight in read[:room][skipped:])


def images_text(spec: TextEncoderSpec, grids: Sequence[tuple[int, int]]) -> str:
    """Return the text of images of these rows and columns of tokens, which stand in place of the template's one."""
    image = spec.template.image if spec.template else ""
    counts = (rows * columns for rows, columns in grids)
    texts = (image.format(number).replace(IMAGE_PAD, IMAGE_PAD * count) for number, count in enumerate(counts, 1))
    return "".join(texts)


def _apart(
    pieces: Callable[[str], Sequence[str]] | None, sections: Sequence[Sequence[WeightedText]]
) -> Sequence[Sequence[WeightedText]]:
    """Return a section for each piece of the texts, between empty ones that the template's texts are added to."""
    if pieces is None:
        return sections
    own = [[(piece, weight)] for section in sections for text, weight in section for piece in pieces(text)]
    return [[], *own, []]


def _weighted_ids(
    tokenizer: Tokenizer,
    before: Iterable[str | int],
    sections: Sequence[Sequence[WeightedText]],
    after: Iterable[str | int],
) -> Iterator[tuple[int, float]]:
    for place, section in enumerate(sections):
        head = before if place == 0 else ()
        tail = after if place == len(sections) - 1 else ()
        parts = [*((part, 1.0) for part in head), *section, *((part, 1.0) for part in tail)]
        for weight, group in groupby(parts, key=lambda part: part[1]):
            yield from ((number, weight) for number in _ids(tokenizer, [part for part, _ in group]))


def _ids(tokenizer: Tokenizer, parts: Iterable[str | int]) -> Iterator[int]:
    """Yield the ids of control tokens and of the texts between them; neighbouring texts are joined."""
    for is_control, group in groupby(parts, key=lambda part: isinstance(part, int)):
        if is_control:
            yield from (part for part in group if isinstance(part, int))
        else:
            yield from tokenizer.ids("".join(map(str, group)))


def _length(padding: Padding, used: int, drop: int, limit: int) -> int:
    """Return the length with padding; what follows the dropped tokens is at least one token, in whole blocks."""
    if padding.block == 0:
        return limit
    kept = max(used - drop, 1)
    return min(drop + -(-kept // padding.block) * padding.block, max(limit, used))


def _pads_left(padding: Padding, tokenizer: Tokenizer) -> bool:
    """Return the side: at full length that which the tokenizer's folder names."""
    named = tokenizer.pads_left if padding.block == 0 and not padding.inner else None
    return padding.left if named is None else named
