"""Tokenize texts, or save a tokenizer with added tokens, by transformers 4; see `environment`."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import Any

import regex
import transformers


def run(given: dict[str, Any]) -> list[list[int]] | None:
    """Return the ids of `texts`, or save the tokenizer to `save`."""
    tokenizer = getattr(transformers, given.pop("class")).from_pretrained(given.pop("folder"))
    if "save" in given:
        tokenizer.add_tokens([transformers.AddedToken(content, **flags) for content, flags in given["added"].items()])
        tokenizer.save_pretrained(given["save"])
        return None
    if "pattern" in given:
        assert tokenizer.fix_text is not None, "the reference needs ftfy"
        tokenizer.pat = regex.compile(given.pop("pattern"), regex.IGNORECASE)
    texts = given.pop("texts")
    return [tokenizer(text, **given).input_ids for text in texts]


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    with redirect_stdout(sys.stderr):
        answer = run(json.load(sys.stdin))
    json.dump(answer, sys.stdout)
