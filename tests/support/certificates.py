"""Certificates for tests, created with openssl."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def make_certificates(folder: Path) -> Path:
    """Create a CA (ca.pem), its certificate for localhost (cert.pem, key.pem), and another CA (other.pem)."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make certificates")

    def run(*arguments: str) -> None:
        subprocess.run([str(openssl), *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    run(*new, "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
    run(*new, "-subj", "/CN=other CA", "-keyout", "other.key", "-out", "other.pem")
    names = ("-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=localhost")
    run(*new, *signed, *names, "-keyout", "key.pem", "-out", "cert.pem")
    return folder
