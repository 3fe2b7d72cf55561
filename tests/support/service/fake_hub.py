"""A hub and its storage on 127.0.0.1, which fail as asked: limits, gates, broken connections, lost ranges, damage."""

from __future__ import annotations

import hashlib
import json
import socket
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

COMMIT = "c0ffee" + "0" * 34
LARGE = 1000  # bytes from which on a file is in storage
GOOD = "Bearer good"


class Seen(NamedTuple):
    """A request: `hub` or `storage`, its path, and two of its headers."""

    server: str
    path: str
    authorization: str | None
    range: str | None


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()  # noqa: S324  # git's choice


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class FakeHub(AbstractContextManager["FakeHub"]):
    """A hub with the repository owner/name. `faults` says how often each fault happens, see `_once`.

    - hub: `limited` (429 by RateLimit), `later` (429 by Retry-After), `down` (503), `renamed` (307)
    - storage: `storage_down` (503), `expired` (403), `too_large` (400), `no_range`, `other_range`, `damaged`, `longer`,
      `broken` (half of what was asked for, then a closed connection)

    `held` is set while storage answers; an Event given as `hold` makes it wait in the middle of a file.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        repository: str = "owner/name",
        private: bool = False,
        gated: bool = False,
        page: int = 20,
        info: Mapping[str, Any] | None = None,
        redirect: str = "",
        hold: Event | None = None,
        faults: Mapping[str, int] | None = None,
    ) -> None:
        self.files, self.repository, self.private, self.gated, self.page = dict(files), repository, private, gated, page
        self.info = {"cardData": {"license": "openrail++"}, "tags": ["diffusers"], "gated": "auto" if gated else False}
        self.info |= info or {}
        self.redirect, self.hold, self.faults = redirect, hold, dict(faults or {})
        self.seen: list[Seen] = []
        self.held = Event()
        self._lock = Lock()

    def __enter__(self) -> Self:
        self._storage, self._hub = _serve(self._answer_storage), _serve(self._answer_hub)
        self.url = f"http://127.0.0.1:{self._hub.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        if self.hold:
            self.hold.set()
        for server in (self._storage, self._hub):
            server.shutdown()
            server.server_close()

    def paths(self, server: str) -> list[str]:
        return [seen.path for seen in self.seen if seen.server == server]

    def _once(self, fault: str) -> bool:
        with self._lock:
            left = self.faults.get(fault, 0)
            self.faults[fault] = left - 1
            return left > 0

    def _see(self, server: str, handler: BaseHTTPRequestHandler) -> str:
        path = unquote(urlsplit(handler.path).path)
        with self._lock:
            headers = handler.headers
            self.seen.append(Seen(server, path, headers.get("authorization"), headers.get("range")))
        assert handler.headers["accept-encoding"] == "identity"
        return path

    def _answer_hub(self, handler: BaseHTTPRequestHandler) -> None:
        path = self._see("hub", handler)
        if self._once("limited"):
            _send(handler, 429, RateLimit='"api";r=0;t=2')
        elif self._once("later"):
            _send(handler, 429, Retry_After="7")
        elif self._once("down"):
            _send(handler, 503)
        elif refusal := self._refusal(path, handler.headers.get("authorization")):
            _send(handler, refusal[0], b"", **refusal[1])
        elif path.startswith("/api/models/"):
            self._answer_api(handler, path.removeprefix("/api/models/").split("/"))
        else:
            self._answer_file(handler, path)

    def _refusal(self, path: str, key: str | None) -> tuple[int, dict[str, str]] | None:
        """Return status and headers if the caller has no access."""
        if self.private and key != GOOD:
            problem = "Invalid credentials in Authorization header" if key else "Invalid username or password."
            return 401, {"X-Error-Message": problem}
        if self.gated and "/resolve/" in path and key != GOOD:
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted"}
        return None

    def _answer_api(self, handler: BaseHTTPRequestHandler, parts: list[str]) -> None:
        if "/".join(parts[:2]) != self.repository:
            return _send(handler, 404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        if parts[3] not in {"main", COMMIT}:
            return _send(handler, 404, X_Error_Code="RevisionNotFound")
        if parts[2] == "revision":
            return _send(handler, 200, json.dumps({"sha": COMMIT, **self.info}).encode())
        return self._answer_tree(handler)

    def _answer_tree(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        at = int(parse_qs(url.query).get("cursor", ["0"])[0])
        names = sorted(self.files)[at : at + self.page]
        entries = [_entry(name, self.files[name]) for name in names]
        entries += [{"type": "directory", "path": "unet", "size": 0, "oid": "0" * 40}]
        following = f"https://another.example{url.path}?recursive=true&expand=false&cursor={at + self.page}"
        more = {"Link": f'<{following}>; rel="next"'} if at + self.page < len(self.files) else {}
        _send(handler, 200, json.dumps(entries).encode(), **more)

    def _answer_file(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        if path.startswith(f"/{self.repository}/") and self._once("renamed"):
            return _send(handler, 307, Location="/new" + path)
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if name not in self.files:
            return _send(handler, 404, X_Error_Code="EntryNotFound")
        data = self.files[name]
        if len(data) < LARGE:
            return _send(handler, 200, data, ETag=f'"{git_sha1(data)}"', X_Repo_Commit=COMMIT)
        place = self.redirect or f"http://127.0.0.1:{self._storage.server_port}/{sha256(data)}?signature=x"
        return _send(handler, 302, Location=place, X_Linked_Etag=f'"{sha256(data)}"', X_Linked_Size=str(len(data)))

    def _answer_storage(self, handler: BaseHTTPRequestHandler) -> None:
        path = self._see("storage", handler)
        if self._once("storage_down"):
            return _send(handler, 503)
        if self._once("expired"):
            return _send(handler, 403)
        if self._once("too_large"):
            return _send(handler, 400)
        data = next(data for data in self.files.values() if sha256(data) == path[1:])
        if self._once("damaged"):
            data = data[:100] + bytes([data[100] ^ 1]) + data[101:]
        return self._send_content(handler, data)

    def _send_content(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        total, wanted = len(data), handler.headers.get("range")
        start, end = 0, total
        if wanted and not self._once("no_range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) + 1 if last else total
        is_part = (start, end) != (0, total)
        body = data[start:end] + b"x" * 9 * self._once("longer")
        handler.send_response(206 if is_part else 200)
        if is_part:
            handler.send_header("Content-Range", f"bytes {start + self._once('other_range')}-{end - 1}/{total}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        self._send_body(handler, body)

    def _send_body(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        half = len(body) // 2
        if self._once("broken"):
            handler.wfile.write(body[:half])
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.hold:
            handler.wfile.write(body[:half])
            self.held.set()
            self.hold.wait(60)
            body = body[half:]
        handler.wfile.write(body)


def _entry(name: str, data: bytes) -> dict[str, Any]:
    large = {"lfs": {"oid": sha256(data), "size": len(data), "pointerSize": 130}, "xetHash": "0" * 64}
    return {"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)} | (
        large if len(data) >= LARGE else {}
    )


def _serve(answer: Callable[[BaseHTTPRequestHandler], None]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # otherwise a body waits 40 ms for the acknowledgement of its headers

        def do_GET(self) -> None:
            try:
                answer(self)
            except ConnectionError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def pipeline_files(size: int = 5000) -> dict[str, bytes]:
    """Return files with the names of a published Stable Diffusion 1.5; weights have about `size` bytes."""
    classes = {
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": [None, None],
    }
    files = {
        "model_index.json": json.dumps({"_class_name": "StableDiffusionPipeline", **classes}).encode(),
        "README.md": b"---\nlicense: openrail++\n---\n# A model\n",
        ".gitattributes": b"",
        "v1-5-pruned.ckpt": b"p" * size,
        "v1-5-pruned-emaonly.safetensors": b"q" * size,
        "tokenizer/vocab.json": b"v" * 900,
        "tokenizer/merges.txt": b"m" * 900,
        "tokenizer/tokenizer_config.json": b"{}",
        "scheduler/scheduler_config.json": b"{}",
        "feature_extractor/preprocessor_config.json": b"{}",
    }
    stems = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    for folder, stem in (stems | {"safety_checker": "model"}).items():
        files[f"{folder}/config.json"] = b'{"of": "%s"}' % folder.encode()
        for kind in (".safetensors", ".fp16.safetensors", ".non_ema.safetensors", ".bin", ".fp16.bin"):
            files[f"{folder}/{stem}{kind}"] = (f"{folder}{kind} " * size).encode()[:size]
    return files


SERVED = {
    *("model_index.json", "README.md", "scheduler/scheduler_config.json"),
    *("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json"),
    *("unet/config.json", "vae/config.json", "text_encoder/config.json"),
    *("unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors"),
    "text_encoder/model.fp16.safetensors",
}
"""The files of `pipeline_files` that serving needs."""
