"""The page about deploying names files, targets, settings and secrets that exist."""

from __future__ import annotations

import re

import pytest

from tests.support.deploy import DEPLOY, documents
from tests.support.source import ROOT

PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
COMPOSE = (DEPLOY / "compose" / "compose.yaml").read_text("utf-8") + (DEPLOY / "compose" / "gpu.yaml").read_text(
    "utf-8"
)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:^|[\s`(=])(deploy/[\w./-]+\w)", PAGE, re.MULTILINE))))
def test_files_exist(path: str) -> None:
    """Each file and folder of deploy/ on the page exists, except those that an operator makes."""
    assert (ROOT / path).exists() or path == "deploy/compose/models"


def test_targets_exist() -> None:
    """Each target of make and of the container file exists."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    stages = re.findall(r" AS (\S+)$", (DEPLOY / "container/Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert all(f"\n{name}:" in makefile for name in re.findall(r"make ([a-z]+(?:-[a-z]+)?)\b", PAGE) if name != "it")
    assert set(re.findall(r"--target (\w+)", PAGE)) == {"cpu", "cuda"} <= set(stages)


def test_variables_of_compose_are_used() -> None:
    """The variables in the table for `.env` are those of the compose file."""
    listed = set(re.findall(r"^\| `(TINTYPE_\w+)` \|", PAGE, re.MULTILINE))
    assert len(listed) > 2
    assert listed <= set(re.findall(r"\$\{(\w+):-", COMPOSE))


def test_secrets_are_created() -> None:
    """The page creates or names each secret that the manifests use."""
    texts = [file.read_text("utf-8") for file in (DEPLOY / "kubernetes").rglob("*.yaml")]
    names = set(re.findall(r"(?:secretName|secretKeyRef: \{name|credentials: \{name): ([\w-]+)", "\n".join(texts)))
    assert len(names) == 4
    assert {name for name in names if f"`{name}`" not in PAGE and f"generic {name} " not in PAGE} == set()


def test_folders_of_kubernetes_are_listed() -> None:
    """Each overlay and component has a row."""
    rows = set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE))
    folders = {file.parent.name for file in (DEPLOY / "kubernetes").rglob("kustomization.yaml")}
    assert folders <= rows


def test_times_are_those_of_the_manifests() -> None:
    """The page repeats the times of the manifests."""
    settings = (DEPLOY / "kubernetes/base/tintype.toml").read_text("utf-8")
    times = dict(re.findall(r"^(lame_duck|grace) = (\d+)", settings, re.MULTILINE))
    deployment = documents(DEPLOY / "kubernetes/base/service.yaml")[0]
    times["terminationGracePeriodSeconds"] = str(
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    )
    assert {name for name, value in times.items() if not re.search(rf"`{name}`[^(]{{0,40}}\({value}\)", PAGE)} == set()
