"""The files that hosts and tools read agree with pyproject.toml and with the Makefile."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml
from packaging.requirements import Requirement

from tests.support.source import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [ROOT / ".github" / "ISSUE_TEMPLATE" / name for name in ("bug.yml", "feature.yml")]


def load(name: str) -> dict[Any, Any]:
    """Return the content of a YAML file."""
    content: dict[Any, Any] = yaml.safe_load((ROOT / name).read_text("utf-8"))
    return content


def on(workflow: dict[Any, Any]) -> Any:
    """Return what starts a workflow; in YAML 1.1 the key `on` is true."""
    return workflow[True]


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    """Return the steps of all jobs of a workflow."""
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_workflows_grant_little() -> None:
    """A workflow reads the repository only; a job that needs more says so itself."""
    for path in WORKFLOWS:
        assert load(str(path))["permissions"] == {"contents": "read"}, path


def test_workflows_name_existing_files() -> None:
    """Every file that decides about a cache exists."""
    for path in WORKFLOWS:
        names = [step.get("with", {}).get("cache-dependency-path", "") for step in steps(load(str(path)))]
        assert [name for name in " ".join(names).split() if not (ROOT / name).is_file()] == [], path


def test_checks_run_everything() -> None:
    """A pull request runs `.ci/run` and, on the other Pythons, the targets that need no torch."""
    workflow = load(".github/workflows/checks.yml")
    assert set(on(workflow)) == {"pull_request", "push"}
    assert on(workflow)["push"] == {"branches": ["main"]}
    assert ".ci/run" in [step.get("run") for step in steps(workflow)]
    matrix = workflow["jobs"]["serving"]["strategy"]["matrix"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(matrix["target"]) <= set(targets)
    names = " ".join(PROJECT["classifiers"])
    assert {"3.11", *matrix["python"]} == set(re.findall(r"Python :: (3\.\d+)", names))


def test_a_tag_alone_releases() -> None:
    """A release starts by a tag only, runs `.ci/run`, and only one job publishes to the index."""
    workflow = load(".github/workflows/release.yml")
    assert on(workflow) == {"push": {"tags": ["v*"]}}
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["build"]["steps"]]
    assert "permissions" not in workflow["jobs"]["build"]
    assert workflow["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert workflow["jobs"]["publish"]["needs"] == "build"


def test_forms_have_what_a_form_needs() -> None:
    """Every field of an issue form has an id and a label."""
    for path in FORMS:
        form = load(str(path))
        assert {"name", "description", "body"} <= form.keys(), path
        fields = [item for item in form["body"] if item["type"] != "markdown"]
        assert all(item["id"] and item["attributes"]["label"] for item in fields), path
        assert len({item["id"] for item in fields}) == len(fields), path


def test_hooks_run_the_pinned_tools() -> None:
    """Hooks before a commit use the versions that `make lint` uses."""
    pins = {need.name: need for need in map(Requirement, PROJECT["optional-dependencies"]["dev"])}
    hooks = [hook for repo in load(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    tools = [Requirement(text) for hook in hooks for text in hook.get("additional_dependencies", ())]
    assert {tool.name for tool in tools} == {"ruff", "buf-bin"}
    assert [tool for tool in tools if tool.specifier != pins[tool.name].specifier] == []


def test_hooks_refuse_long_subjects() -> None:
    """A subject of 72 characters passes, one more does not, and long lines below it pass."""
    hooks = {hook["id"]: hook for repo in load(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert hooks["subject"]["args"] == ["--multiline"]
    pattern = re.compile(hooks["subject"]["entry"], re.MULTILINE)
    assert not pattern.search("x" * 72 + "\n\n" + "y" * 100)
    assert pattern.search("x" * 73 + "\n")


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff has the version and the licence of the package."""
    citation = load("CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
