"""The release workflow: every image, SBOM and file of pinned packages, and no more rights than each job needs."""

from __future__ import annotations

from typing import Any

from tests.support.deploy import DEPLOY, documents
from tests.support.source import ROOT

(WORKFLOW,) = documents(ROOT / ".github" / "workflows" / "release.yml")
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
RIGHTS = {
    "build": {},
    "images": {"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"},
    "attest": {"id-token": "write", "attestations": "write"},
    "publish": {"id-token": "write"},
    "release": {"contents": "write"},
}


def step(job: str, action: str) -> dict[str, Any]:
    """Return the inputs of the job's first step that uses an action."""
    found: dict[str, Any] = next(each for each in JOBS[job]["steps"] if each.get("uses", "").startswith(f"{action}@"))
    return dict(found["with"])


def test_jobs_have_the_rights_that_they_need() -> None:
    """The job that runs the project's code may change nothing, and only the last one writes to the repository."""
    assert {name: job.get("permissions", {}) for name, job in JOBS.items()} == RIGHTS
    assert set(JOBS["release"]["needs"]) == JOBS.keys() - {"build", "release"}
    assert all(job.get("timeout-minutes") for job in JOBS.values())


def test_every_image_is_published() -> None:
    """The images are the targets of the container file, with an SBOM and a record of their build."""
    targets = JOBS["images"]["strategy"]["matrix"]["target"]
    dockerfile = (DEPLOY / "container" / "Dockerfile").read_text("utf-8")
    assert [f"FROM runtime AS {target}\n" in dockerfile for target in targets] == [True, True]
    inputs = step("images", "docker/build-push-action")
    assert (ROOT / inputs["file"]).is_file()
    assert (inputs["sbom"], inputs["provenance"]) == (True, "mode=max")
    assert all(line.split("=")[0] in {"VERSION", "REVISION"} for line in inputs["build-args"].splitlines())


def test_the_release_has_the_pinned_packages() -> None:
    """SBOMs and pinned packages become files of the release."""
    uploads = [each for each in JOBS["build"]["steps"] if "upload-artifact" in each.get("uses", "")]
    paths = {path for each in uploads for path in each["with"]["path"].split()}
    assert "build/sbom/*.cdx.json" in paths
    assert {f"deploy/constraints/{name}.txt" for name in ("cpu", "cuda")} <= paths
