"""The version of tintype, as `/version` and `tintype --version` report it."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from importlib import metadata
from typing import Annotated, Self

import msgspec
from msgspec import Meta

NAME = "tintype"
API = "tintype.v1"  # the package of the gRPC contract
COMMIT = "TINTYPE_COMMIT"  # variable with the commit, for images of containers


class Version(msgspec.Struct, omit_defaults=True):
    """The version of tintype, its commit if it is known, and what runs it. `api` is the gRPC contract."""

    version: Annotated[str, Meta(description="Version of tintype")]
    commit: Annotated[str, Meta(description="Commit that it was built from, if that is known")] = ""
    api: Annotated[str, Meta(description="Package of the gRPC contract")] = ""
    python: Annotated[str, Meta(description="Version of Python")] = ""
    onnxruntime: Annotated[str, Meta(description="Version of onnxruntime beside the gateway")] = ""

    @classmethod
    def installed(cls) -> Self:
        """Return the version that is installed here; onnxruntime's, if it is installed beside the gateway."""
        return cls(
            version=metadata.version(NAME),
            api=API,
            commit=os.environ.get(COMMIT, "") or _installed_commit(),
            python=platform.python_version(),
            onnxruntime=_onnxruntime(),
        )


def _installed_commit() -> str:
    """Return the commit that pip has installed from a repository (PEP 610); empty for other installations."""
    text = metadata.distribution(NAME).read_text("direct_url.json") or "{}"
    with suppress(ValueError, AttributeError):
        return str(json.loads(text).get("vcs_info", {}).get("commit_id", ""))
    return ""


def _onnxruntime() -> str:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""
