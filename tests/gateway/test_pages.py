"""The HTML pages without a browser: which files are served, and that they reference no other server."""

from __future__ import annotations

import asyncio
import json
import posixpath
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tintype.gateway.dialects import DIALECTS
from tintype.gateway.pages import SECURITY_POLICY, load_assets

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = {"/": "index.html", "/docs": "docs/docs.html"}
ASSETS = load_assets()
SCRIPTS = sorted(name for name in ASSETS if name.endswith(".js"))
TEXTS = sorted(name for name in ASSETS if name.endswith((".html", ".css", ".js", ".svg")))
EXAMPLES = json.loads(ASSETS["examples.json"].data)
# A name space is a URL that is never requested.
NAMESPACES = ("http://www.w3.org/2000/svg",)


def text(name: str) -> str:
    return ASSETS[name].data.decode()


class TestFiles:
    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("path", PAGES)
    async def test_pages_have_a_strict_policy(self, gateway: httpx.AsyncClient, path: str) -> None:
        """A page is HTML with a policy that allows nothing inline and nothing from other servers."""
        answer = await gateway.get(path, headers=HTML)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers.get_list("content-security-policy") == [SECURITY_POLICY]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.content == ASSETS[PAGES[path]].data
        assert (await gateway.head(path, headers=HTML)).headers["content-length"] == str(len(answer.content))

    async def test_root_is_html_or_json(self, gateway: httpx.AsyncClient) -> None:
        """A client that does not accept HTML gets JSON at the root, and `vary` tells caches so."""
        for headers in ({}, {"accept": "application/json"}):
            answer = await gateway.get("/", headers=headers)
            assert answer.json()["endpoints"]["documentation"] == "/docs"
            assert "accept" in answer.headers["vary"].split(", ")
        assert "accept" in (await gateway.get("/", headers=HTML)).headers["vary"].split(", ")

    async def test_favicon_is_served(self, gateway: httpx.AsyncClient) -> None:
        """The icon that browsers request on their own is there."""
        answer = await gateway.get("/favicon.ico")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")

    async def test_every_loaded_file_is_served(self, gateway: httpx.AsyncClient) -> None:
        """Every file that a page or a script loads is there, with the type that browsers require."""
        kinds = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
        wanted = {
            found for page in PAGES.values() for found in re.findall(r'(?:src|href)="playground/([^"]+)"', text(page))
        }
        wanted |= {
            posixpath.normpath(posixpath.join(posixpath.dirname(script), found))
            for script in SCRIPTS
            for found in re.findall(r'from "(\.[^"]+)"', text(script))
        }
        assert {"app.js", "docs/docs.js", "style.css", "shared/sse.js"} <= wanted
        for name in wanted:
            answer = await gateway.get(f"/playground/{name}")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == kinds[name.rpartition(".")[2]]

    async def test_unchanged_files_are_304(self, gateway: httpx.AsyncClient) -> None:
        """Browsers ask each time, and get the bytes only if theirs are outdated."""
        first = await gateway.get("/playground/app.js")
        assert first.headers["cache-control"] == "no-cache"
        again = await gateway.get("/playground/app.js", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = await gateway.get("/playground/app.js", headers={"if-none-match": '"0123"'})
        assert other.status_code == 200

    @pytest.mark.parametrize(
        "name", ["nothing.js", "form", "form/..%2fapp.js", "..%2fapp.py", "%2e%2e/app.py", "index.html", "", "%00"]
    )
    async def test_other_files_are_not_served(self, gateway: httpx.AsyncClient, name: str) -> None:
        """Only the files of the pages are served."""
        assert (await gateway.get(f"/playground/{name}")).status_code == 404


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_names_another_server(name: str) -> None:
    """No file names another server: pages work without internet access, and report their use to no server."""
    found = re.findall(
        r"(?:https?:|wss?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`)]*", re.sub(r"(?m)^\s*//.*$", "", text(name))
    )
    assert [address for address in found if address not in NAMESPACES] == []


@pytest.mark.parametrize("page", PAGES.values())
def test_no_inline_scripts_or_styles(page: str) -> None:
    """Pages contain no scripts, styles or event handlers: the policy would block them."""
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", text(page)) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_build_no_markup(name: str) -> None:
    """Scripts build elements, never markup: a prompt or a model's name can't become part of a page."""
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text(name)) == []


@pytest.mark.parametrize("page", PAGES.values())
def test_controls_have_accessible_names(page: str) -> None:
    """Each control has an accessible name, and ids are unique."""
    html = text(page)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    labelled = set(re.findall(r'<label for="([^"]+)"', html))
    controls = re.findall(r"<(?:input|select|textarea)\b[^>]*>", html)
    nameless = [one for one in controls if "aria-label" not in one]
    assert {name for one in nameless for name in re.findall(r'\sid="([^"]+)"', one) or [one]} <= labelled


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_find_their_elements(name: str) -> None:
    """The page has every element that a script looks up by id."""
    ids = {found for page in PAGES.values() for found in re.findall(r'\sid="([^"]+)"', text(page))}
    assert set(re.findall(r'\$\("([^"]+)"\)', text(name))) <= ids


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_valid_javascript(name: str) -> None:
    """Each script is valid JavaScript."""
    subprocess.run(["node", "--input-type=module", "--check"], input=ASSETS[name].data, check=True)


class TestExamples:
    """The example of each dialect in the documentation works."""

    pytestmark = pytest.mark.anyio

    def test_every_dialect_has_an_example(self) -> None:
        """Every dialect has an example, and every example a dialect."""
        assert set(EXAMPLES) == set(DIALECTS)

    @pytest.mark.parametrize("name", DIALECTS)
    async def test_example_body_makes_an_image(self, gateway: httpx.AsyncClient, name: str) -> None:
        """The command gets an image, and none of its fields is ignored."""
        answer = await gateway.post(EXAMPLES[name]["path"], json=EXAMPLES[name]["body"])
        assert answer.status_code == 200
        assert "x-tintype-ignored" not in answer.headers

    @pytest.mark.parametrize("name", DIALECTS)
    async def test_example_program_runs(self, gateway: httpx.AsyncClient, name: str, tmp_path: Path) -> None:
        """The program runs unchanged, and writes an image or prints a link."""
        program = "\n".join(EXAMPLES[name]["python"]).replace("{base}", str(gateway.base_url).rstrip("/"))
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, env={"NO_PROXY": "*"}
        )
        printed, _ = await running.communicate()
        assert running.returncode == 0
        assert "/files/" in printed.decode() or (tmp_path / "lake.png").read_bytes().startswith(b"\x89PNG")
