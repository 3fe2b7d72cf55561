"""The files for Prometheus and Grafana: promtool accepts them, and they name metrics that the servers have."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway.metrics import gateway_metrics
from tests.support.source import ROOT
from tests.support.tools import promtool
from tintype.service.metrics.export import text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "tintype.json").read_text("utf-8"))
# Of Prometheus itself, and of processes, which the servers report on Linux only.
OTHERS = {"up", "process_start_time_seconds", "process_open_fds", "process_max_fds", "process_cpu_seconds_total"} | {
    "process_resident_memory_bytes"
}
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}
_METRIC = re.compile(r"\b(?:tintype_\w+|process_\w+|up)\b(?=[\s{\[)]|$)")


def run_promtool(*arguments: str | Path) -> str:
    """Return what promtool prints; fails if it finds a fault."""
    done = subprocess.run((promtool(), *arguments), cwd=RULES, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def exported() -> set[str]:
    """Return the names of all lines that gateway and service may have."""
    families = [
        family
        for page in (gateway_metrics(), text([], {}))
        for family in text_string_to_metric_families(page.decode())
        if family.name.startswith("tintype_")
    ]
    return OTHERS | {f"{family.name}{suffix}" for family in families for suffix in SUFFIXES.get(family.type, ("",))}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> Iterator[dict[str, Any]]:
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def expressions() -> list[str]:
    """Return the expressions of the dashboard, with values in place of Grafana's variables."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    return [re.sub(r"\$(instance|model)", ".*", each).replace("$__rate_interval", "5m") for each in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"),
    ],
)
def test_promtool_accepts_the_files(arguments: tuple[str, ...]) -> None:
    """Rules and configuration are valid, and each alert fires when it should and not before."""
    assert "SUCCESS" in run_promtool(*arguments)


@pytest.mark.slow
def test_the_dashboards_expressions_are_valid(tmp_path: Path) -> None:
    """Prometheus can parse every expression of the dashboard."""
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run_promtool("check", "rules", "--lint=none", path)


def test_metrics_exist() -> None:
    """Every metric of the dashboard and of the alerts is one that gateway, service or Prometheus has."""
    recorded = {rule["record"] for rule in alerts() if "record" in rule}
    for expression in (*expressions(), *(rule["expr"] for rule in alerts())):
        plain = re.sub(r'"[^"]*"', '""', expression)  # values of labels
        assert recorded.union(re.findall(r"\btintype:[\w:]+", plain)) == recorded
        names = set(_METRIC.findall(re.sub(r"\btintype:[\w:]+", "", plain)))
        assert names <= exported(), expression


def test_variables_name_metrics_that_exist() -> None:
    """The lists of instances and models come from metrics that exist."""
    queries = [each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    assert {re.split(r"[({,]", query)[1] for query in queries} <= exported()


def test_every_alert_is_tested() -> None:
    """Each alert has a test in which it fires, a severity, a summary and a description."""
    tests = yaml.safe_load((RULES / "alerts_test.yml").read_text("utf-8"))["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    rules = [rule for rule in alerts() if "alert" in rule]
    assert fired == {rule["alert"] for rule in rules}
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_do_not_overlap() -> None:
    """Panels have unique numbers, and no two are at one place."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = [
        (row, column)
        for grid in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for row in range(grid["y"], grid["y"] + grid["h"])
        for column in range(grid["x"], grid["x"] + grid["w"])
    ]
    assert len(places) == len(set(places))
    assert max(column for _, column in places) < 24


def test_the_dashboard_covers_the_service() -> None:
    """Every metric of the service is in a panel, except those that only alerts or versions need."""
    used = " ".join(expressions())
    names = {family.name for family in text_string_to_metric_families(text([], {}).decode())}
    unused = {name for name in names if name.startswith("tintype_service_") and name not in used}
    assert unused == {"tintype_service_build_info", "tintype_service_models_loaded", "tintype_service_request_seconds"}
