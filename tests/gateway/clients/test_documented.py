"""The examples of `docs/clients.md`, run unchanged."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
NODE = Path(__file__).with_name("node")
ADDRESS = "http://127.0.0.1:8080"
IMPORTS = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)
TIMEOUT = 200  # seconds for one example


def examples(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [text for text in found if ADDRESS in text]


def example_name(text: str) -> str:
    """Return a name for an example: its last import, or its URL."""
    return (IMPORTS.findall(text) or re.findall(rf"{ADDRESS}(\S+)", text))[-1]


def run_example(command: list[str], folder: Path) -> str:
    environ = {**os.environ, "NO_PROXY": "*"}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("text", examples("python"), ids=example_name)
def test_python_examples_print_their_result(gateway_url: str, tmp_path: Path, text: str) -> None:
    """Each program succeeds and prints its result."""
    for name in IMPORTS.findall(text):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    assert run_example([sys.executable, "-c", text.replace(ADDRESS, gateway_url)], tmp_path).strip()


@pytest.mark.skipif(not (NODE / "node_modules/stamp").exists(), reason="needs npm, and `make test`")
@pytest.mark.parametrize("text", examples("js"), ids=lambda text: re.findall(r'from "(.*)"', text)[-1])
def test_javascript_examples_print_their_result(gateway_url: str, text: str) -> None:
    """Each JavaScript program runs to its end and prints its result."""
    command = ["node", "--input-type=module", "--eval", text.replace(ADDRESS, gateway_url)]
    assert run_example(command, NODE).strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("text", examples("sh"), ids=example_name)
def test_curl_examples_return_an_image(gateway_url: str, tmp_path: Path, text: str) -> None:
    """Each curl command returns an image."""
    assert re.search(r'"url":"http', run_example(["sh", "-c", text.replace(ADDRESS, gateway_url)], tmp_path))


def test_all_examples_are_found() -> None:
    """The page still has its examples, and they are still found."""
    assert [len(examples(language)) for language in ("python", "js", "sh")] == [8, 2, 5]


def test_contents_link_to_sections() -> None:
    """Every section in the page's table of contents exists."""
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors
