"""Find the adapters and embeddings that a prompt of the web UI names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_EMBEDDINGS, MAX_LORAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_AND = re.compile(r"\bAND\b")
# No part extends beyond the next `<`, so that each character is read a bounded number of times.
_NETWORK = re.compile(r"<(\w+):([^<:>]+)(?::([^<>]*))?>")
_WORD = re.compile(r"\w")


class ParsedPrompts(NamedTuple):
    """Prompts to send, the adapters and embeddings that they name, and the parts without effect."""

    prompt: str
    negative_prompt: str
    loras: list[pb.Lora]
    embeddings: list[str]
    unused: list[str]


def parse_prompts(prompt: str, negative_prompt: str, model: pb.Model, *, apply_loras: bool) -> ParsedPrompts:
    """Return what two prompts mean for a model."""
    prompt, loras, unused = extract_loras(prompt, model.loras, apply=apply_loras)
    (prompt, negative_prompt), embeddings, excess = choose_embeddings([prompt, negative_prompt], model.embeddings)
    return ParsedPrompts(prompt, negative_prompt, loras, embeddings, unused + excess)


def extract_loras(prompt: str, known: Iterable[str], *, apply: bool) -> tuple[str, list[pb.Lora], list[str]]:
    """Return a prompt without `<lora:NAME:WEIGHT>`, its adapters that the model has, and its parts without effect.

    Without `apply`, the adapters are removed from the prompt and not applied, as in the web UI. AND, with which the web
    UI composes prompts, has no effect: the service reads it as a comma.
    """
    names = {name.lower(): name for name in known}
    loras: list[pb.Lora] = []
    unused: list[str] = []
    for kind, name, weight in _NETWORK.findall(prompt) if apply else ():
        found = names.get(name.strip().lower()) if kind.lower() == "lora" else None
        if found is None or len(loras) == MAX_LORAS:
            unused.append(f"{kind}:{name}")
        else:
            loras.append(pb.Lora(name=found, weight=_parse_weight(weight)))
    prompt = _NETWORK.sub("", prompt).strip()
    unused += ["AND"] if _AND.search(prompt) else []
    return prompt, loras, unused


def choose_embeddings(prompts: Sequence[str], known: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Choose the embeddings whose names occur in the prompts as words, ignoring case, as in the web UI.

    Returns the prompts with the names as the model spells them, the chosen embeddings, and those beyond
    `MAX_EMBEDDINGS`. The longest names are chosen first.
    """
    respelled, chosen, excess = list(prompts), list[str](), list[str]()
    folded = [_fold_case(prompt) for prompt in prompts]
    for name in sorted(known, key=lambda name: (-len(name), name)):
        places = [[*_find_word(text, _fold_case(name))] for text in folded]
        if not any(places):
            continue
        if len(chosen) == MAX_EMBEDDINGS:
            excess.append(f"embedding:{name}")
            continue
        chosen.append(name)
        respelled = [_respell(prompt, name, at) for prompt, at in zip(respelled, places, strict=True)]
    return respelled, chosen, excess


def _find_word(text: str, name: str) -> Iterator[int]:
    """Yield the positions of a name as a word; each character is read a bounded number of times."""
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        if not (_in_one_word(text[at - 1 : at] if at else "", name[0]) or _in_one_word(name[-1], text[end : end + 1])):
            yield at
        at = text.find(name, end)


def _in_one_word(left: str, right: str) -> bool:
    """Tell whether two adjacent characters belong to one word."""
    return bool(_WORD.match(left) and _WORD.match(right))


def _fold_case(text: str) -> str:
    """Return a text in lower case, of the same length: a letter whose lower case is longer is kept."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


def _respell(prompt: str, name: str, places: Iterable[int]) -> str:
    parts, end = list[str](), 0
    for at in places:
        parts += [prompt[end:at], name]
        end = at + len(name)
    return "".join([*parts, prompt[end:]])


def _parse_weight(text: str) -> float:
    try:
        return float(text.partition(":")[0] or 1)
    except ValueError:
        return 1.0
