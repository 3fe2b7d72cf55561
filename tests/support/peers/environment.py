"""Programs in the environment of other exporters (`.venv-peers`), for tests in the environment of `tintype export`.

optimum needs an older transformers than diffusers does, so both cannot be in one environment. That transformers is also
the last with the slow tokenizers that published pipelines name.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.source import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PYTHON = ROOT / ".venv-peers" / "bin" / "python"


def export_with_optimum(folders: Iterable[tuple[Path, Path, str]]) -> None:
    """Export pipelines as `optimum-cli export onnx` does: source, target and task of each."""
    _run("export_folders.py", [[str(source), str(target), task] for source, target, task in folders])


def token_ids(class_name: str, folder: Path, texts: list[str], **options: Any) -> list[list[int]]:
    """Return the ids of texts by the tokenizer in a folder, read as a class of transformers 4.

    With the option `pattern`, the slow CLIP tokenizer splits words by it. Others are options of the call.
    """
    ids: list[list[int]] = _run(
        "tokenize_texts.py", {"class": class_name, "folder": str(folder), "texts": texts} | options
    )
    return ids


def save_tokenizer(class_name: str, source: Path, folder: Path, added: Mapping[str, Mapping[str, bool]]) -> None:
    """Save the tokenizer in `source` to `folder`, with further tokens and their flags."""
    _run("tokenize_texts.py", {"class": class_name, "folder": str(source), "added": added, "save": str(folder)})


def _run(program: str, given: Any) -> Any:
    """Run a program of this folder with JSON on its standard input; return the JSON of its standard output."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: make .venv-peers/stamp")
    path = Path(__file__).with_name(program)
    done = subprocess.run([PYTHON, path], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
