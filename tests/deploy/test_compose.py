"""The compose file: every container is confined, settings exist, and the created secrets fit together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from tests.support.deploy import DEPLOY, documents, unknown_settings
from tests.support.tools import tool
from tintype.service.config import ServiceConfig
from tintype.v1.keys import Keys

FOLDER = DEPLOY / "compose"
(COMPOSE,) = documents(FOLDER / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if "build" in each}


@pytest.mark.parametrize("name", SERVICES)
def test_containers_are_confined(name: str) -> None:
    """No container writes outside its volumes, gains privileges or has capabilities."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid"} & service.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_containers_are_consistent(name: str) -> None:
    """Secrets, volumes, networks and dependencies that a container names are declared, and images have a version."""
    service = SERVICES[name]
    assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    assert set(service["networks"]) <= COMPOSE["networks"].keys()
    named = {text.split(":")[0] for text in service.get("volumes", ()) if not text.startswith(".")}
    assert named <= COMPOSE["volumes"].keys()
    assert set(service.get("depends_on", ())) <= SERVICES.keys()
    if name not in OURS:
        assert re.search(r":v?\d+\.\d", service["image"])


def test_only_loopback_addresses_are_published() -> None:
    """No port is open to other machines unless the operator says so."""
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert re.sub(r"\$\{\w+:-(.*?)\}", r"\1", port).startswith("127.0.0.1:")


@pytest.mark.parametrize("name", OURS)
def test_settings_exist(name: str) -> None:
    """Every variable is a setting of the container's command."""
    (command,) = OURS[name]["command"]
    assert unknown_settings(command, OURS[name]["environment"]) == set()


def test_settings_of_the_gpu_file_exist() -> None:
    """The file for GPUs changes the service only."""
    (override,) = documents(FOLDER / "gpu.yaml")
    assert override["services"].keys() == {"service"}
    assert unknown_settings("serve", override["services"]["service"]["environment"]) == set()


@pytest.mark.parametrize("name", OURS)
def test_containers_get_time_to_finish(name: str) -> None:
    """A server is killed only after its own time to finish has passed."""
    defaults = ServiceConfig()
    assert float(OURS[name]["stop_grace_period"].rstrip("s")) > defaults.lame_duck + defaults.grace


def test_prometheus_scrapes_what_is_exposed() -> None:
    """The targets are the containers, at the ports of their settings, with the key that is mounted."""
    (config,) = documents(FOLDER / "prometheus.yml")
    targets = {each["names"][0]: each["port"] for job in config["scrape_configs"] for each in job["dns_sd_configs"]}
    assert targets == {"gateway": 8080, "service": 9464}
    assert SERVICES["service"]["environment"]["TINTYPE_METRICS"].endswith(":9464")
    assert SERVICES["gateway"]["ports"][0].endswith(":8080")
    files = {job["authorization"]["credentials_file"] for job in config["scrape_configs"]}
    assert files == {f"/run/secrets/{name}" for name in SERVICES["prometheus"]["secrets"]}


@pytest.mark.slow
def test_prometheus_accepts_its_file(tmp_path: Path) -> None:
    """Promtool finds no mistake in the configuration, with the alert rules in its folder, as in the container."""
    shutil.copy(FOLDER / "prometheus.yml", tmp_path)
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", tmp_path)
    command = [str(tool("promtool", "prometheus")), "check", "config", "--syntax-only", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A copy of the folder with its secrets."""
    shutil.copy(FOLDER / "prepare", tmp_path)
    subprocess.run([tmp_path / "prepare"], check=True, capture_output=True)
    return tmp_path


def prepare(folder: Path) -> str:
    """Create the secrets, and return what the script prints."""
    return subprocess.run([folder / "prepare"], check=True, capture_output=True, text=True).stdout


def test_secrets_fit_together(tmp_path: Path) -> None:
    """The keys of client, gateway and Prometheus are in the key file, with the rights that each needs."""
    shutil.copy(FOLDER / "prepare", tmp_path)
    client = prepare(tmp_path).removeprefix("key of the client: ").strip()
    keys = Keys(tmp_path / "secrets/keys")
    gateway = tomllib.loads((tmp_path / "secrets/gateway.toml").read_text())["gateway"]["service_key"]
    prometheus = (tmp_path / "secrets/prometheus.key").read_text()
    found = {each.name: each.admin for secret in (client, gateway, prometheus) if (each := keys.find(secret))}
    assert found == {"client": False, "gateway": True, "prometheus": False}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_the_bucket_has_one_user(prepared: Path) -> None:
    """The gateway's credentials are those of the S3 server's only user, who may use the bucket of the settings."""
    (user,) = json.loads((prepared / "secrets/s3-users").read_text())["identities"]
    credentials = ConfigParser()
    credentials.read(prepared / "secrets/s3-credentials")
    (pair,) = user["credentials"]
    assert (pair["accessKey"], pair["secretKey"]) == tuple(credentials["default"].values())
    bucket = SERVICES["gateway"]["environment"]["TINTYPE_STORE"].removeprefix("s3://").split("/")[0]
    assert f"-bucket={bucket}" in SERVICES["s3"]["command"]
    assert {action.partition(":")[2] for action in user["actions"]} == {bucket}


def test_secrets_stay(prepared: Path) -> None:
    """A second run changes no secret and prints no key."""
    files = {file: file.read_bytes() for file in (prepared / "secrets").iterdir()}
    assert {file.name for file in files} == {Path(each["file"]).name for each in COMPOSE["secrets"].values()}
    assert prepare(prepared) == ""
    assert {file: file.read_bytes() for file in (prepared / "secrets").iterdir()} == files
