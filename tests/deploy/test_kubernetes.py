"""The Kubernetes manifests: confined pods, probes that fit the servers, and settings that exist."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.deploy import DEPLOY, documents, unknown_settings
from tintype.cli.settings.file import read_file
from tintype.cli.settings.sources import Sources
from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig
from tintype.service.metrics.definitions import METRICS, PREFIX
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER = DEPLOY / "kubernetes"
BASE = FOLDER / "base"
OBJECTS = [each for file in sorted(BASE.glob("*.yaml")) for each in documents(file)]
DEPLOYMENTS = {each["metadata"]["name"]: each["spec"] for each in OBJECTS if each["kind"] == "Deployment"}
NAMES = ("tintype-service", "tintype-gateway")
SETTINGS = Sources(file=read_file(BASE / "tintype.toml"))
COMPONENTS = ("autoscaling", "monitoring", "gateway-data")


def pod(name: str) -> dict[str, Any]:
    """Return the specification of a deployment's pods."""
    found: dict[str, Any] = DEPLOYMENTS[name]["template"]["spec"]
    return found


def container(name: str) -> dict[str, Any]:
    """Return the only container of a deployment's pods."""
    (found,) = pod(name)["containers"]
    assert isinstance(found, dict)
    return found


def one(kind: str, name: str) -> dict[str, Any]:
    """Return an object by kind and name."""
    (found,) = (each for each in OBJECTS if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_pods_are_restricted(name: str) -> None:
    """Pods meet the profile `restricted`, which the namespace enforces, write to volumes only, and have no token."""
    assert one("Namespace", "tintype")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod(name)["automountServiceAccountToken"] is False
    context = pod(name)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["fsGroup"] == 65532
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_service_is_probed_by_its_health() -> None:
    """Readiness and the start ask the health of the contract's service; liveness only asks whether the port is open."""
    probes = container("tintype-service")
    health = {"port": 50051, "service": pb.DESCRIPTOR.services_by_name["ImageService"].full_name}
    assert probes["readinessProbe"]["grpc"] == probes["startupProbe"]["grpc"] == health
    assert probes["livenessProbe"]["tcpSocket"] == {"port": 50051}


def test_the_gateway_is_probed_by_its_routes() -> None:
    """A gateway without its service gets no traffic, and is not restarted for it."""
    probes = container("tintype-gateway")
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert probes["livenessProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize(("name", "config"), list(zip(NAMES, (ServiceConfig, GatewayConfig), strict=True)))
def test_pods_finish_their_requests(name: str, config: type[ServiceConfig | GatewayConfig]) -> None:
    """Readiness fails within --lame-duck, and a pod is killed only after --lame-duck and --grace."""
    settings = SETTINGS.config(config)
    probe = container(name)["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < settings.lame_duck
    assert pod(name)["terminationGracePeriodSeconds"] > settings.lame_duck + settings.grace
    assert "lifecycle" not in container(name)


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_settings(name: str) -> None:
    """Every variable is a setting of the container's command, and the settings file is where the variable says."""
    (command,) = container(name)["args"]
    variables = {each["name"]: each.get("value") for each in container(name)["env"]}
    assert unknown_settings(command, variables) == set()
    mounts = {each["mountPath"] for each in container(name)["volumeMounts"]}
    assert variables["TINTYPE_CONFIG"].rpartition("/")[0] in mounts
    assert variables["TINTYPE_KEYS"].rpartition("/")[0] in mounts


@pytest.mark.parametrize("name", NAMES)
def test_volumes_are_declared(name: str) -> None:
    """Every mounted volume exists, and every volume is mounted."""
    assert {each["name"] for each in container(name)["volumeMounts"]} == {each["name"] for each in pod(name)["volumes"]}


def test_gateways_find_every_replica() -> None:
    """The service is headless and the gateway resolves its name, so that it sees each replica."""
    service = one("Service", "tintype-service")["spec"]
    assert service["clusterIP"] == "None"
    target = next(each["value"] for each in container("tintype-gateway")["env"] if each["name"] == "TINTYPE_GRPC")
    assert target == f"dns:///tintype-service:{service['ports'][0]['port']}"


def test_selectors_match() -> None:
    """Services, budgets and policies select pods that exist."""
    labels = {name: spec["template"]["metadata"]["labels"] for name, spec in DEPLOYMENTS.items()}
    for each in OBJECTS:
        spec = each.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        wanted = selector.get("matchLabels", selector)
        if each["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy"} and wanted:
            assert wanted in labels.values(), each["metadata"]["name"]


def test_policies_open_ports_that_exist() -> None:
    """Each port that a policy allows is a named port of the pods that it selects, and nothing else is open."""
    assert one("NetworkPolicy", "deny-ingress")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for name in NAMES:
        rules = one("NetworkPolicy", name)["spec"]["ingress"]
        allowed = {port["port"] for rule in rules for port in rule["ports"]}
        assert allowed == {port["name"] for port in container(name)["ports"]}


def build(folder: Path, kubectl: str) -> str:
    """Return the objects that kustomize makes of a folder."""
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_manifests_fit_the_schemas(tmp_path: Path, program: Callable[[str], str]) -> None:
    """Kubernetes' schemas allow the overlay for GPUs, which contains the base, without unknown fields."""
    file = tmp_path / "built.yaml"
    file.write_text(build(FOLDER / "gpu", program("kubectl")))
    command = [program("kubernetes-validate"), "--strict", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("component", COMPONENTS)
def test_components_can_be_added(component: str, tmp_path: Path, program: Callable[[str], str]) -> None:
    """A component adds its objects to an overlay; with the scaler, the deployment has no number of replicas."""
    kubectl = program("kubectl")
    overlay = FOLDER / f".test-{tmp_path.name}"  # kustomize reads only below and beside its folder
    overlay.mkdir()
    try:
        (overlay / "kustomization.yaml").write_text(f"resources: [../gpu]\ncomponents: [../{component}]\n")
        (tmp_path / "built.yaml").write_text(build(overlay, kubectl))
    finally:
        (overlay / "kustomization.yaml").unlink(missing_ok=True)
        overlay.rmdir()
    built = documents(tmp_path / "built.yaml")
    assert len(built) > len(OBJECTS)  # these include the kustomization, which becomes the map of settings
    (service,) = (e for e in built if e["kind"] == "Deployment" and e["metadata"]["name"] == "tintype-service")
    assert ("replicas" in service["spec"]) == (component != "autoscaling")


@pytest.mark.parametrize("component", COMPONENTS)
def test_objects_of_components_are_in_the_namespace(component: str) -> None:
    """An overlay without a namespace, as in the documentation, puts them where the pods are."""
    (file,) = (each for each in (FOLDER / component).glob("*.yaml") if each.name != "kustomization.yaml")
    assert {each["metadata"]["namespace"] for each in documents(file)} == {"tintype"}


def test_the_gpu_overlay_takes_a_gpu() -> None:
    """Each replica of the service gets one GPU and the CUDA image."""
    (patch,) = documents(FOLDER / "gpu" / "service.yaml")
    (changed,) = patch["spec"]["template"]["spec"]["containers"]
    assert changed["name"] == container("tintype-service")["name"]
    assert changed["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert changed["image"].endswith(":cuda")


def test_the_scaler_asks_for_a_metric_that_exists() -> None:
    """The query is for requests that wait and that run: a busy replica without a queue is not removed."""
    (scaler,) = documents(FOLDER / "autoscaling" / "scaler.yaml")
    query = scaler["spec"]["triggers"][0]["metadata"]["query"]
    found = set(re.findall(r"\w+(?=\{)", query))
    assert found == {f"{PREFIX}queue_tasks", f"{PREFIX}running_tasks"}
    assert found <= {metric.full_name for metric in METRICS.values()}


def test_the_gateways_data_fits_its_volume() -> None:
    """Results and jobs, at their limits, leave room for the databases' logs and usage."""
    settings = SETTINGS.config(GatewayConfig)
    (data,) = (each for each in pod("tintype-gateway")["volumes"] if each["name"] == "data")
    limit = int(data["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
    assert limit >= settings.store_bytes + settings.job_bytes + 2**30
