"""docs/monitoring.md agrees with the code and with the alert rules.

`python -m tests.docs.test_monitoring` updates the tables of the service's metrics and of the alerts.
"""

from __future__ import annotations

import re

import yaml

from tests.support.gateway.metrics import gateway_metrics
from tests.support.source import ROOT
from tintype.service.metrics.definitions import DEVICE_METRICS, SERVER_METRICS, Metric

PAGE = ROOT / "docs" / "monitoring.md"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
TABLE = "<!-- {} -->\n{}<!-- end -->"


def service_table() -> str:
    """Return the table of the service's metrics."""
    rows = [_row(metric, ("device", *metric.labels)) for metric in DEVICE_METRICS]
    rows += [_row(metric, metric.labels) for metric in SERVER_METRICS]
    rows.append(
        "| `process_*` | | | memory, processor time and open files of the process with the address, on Linux |\n"
    )
    return "| name | type | labels | what it is |\n|---|---|---|---|\n" + "".join(rows)


def _row(metric: Metric, labels: tuple[str, ...]) -> str:
    names = ", ".join(f"`{label}`" for label in labels)
    return f"| `{metric.full_name}` | {metric.kind} | {names} | {metric.help.removesuffix('.')} |\n"


def alerts_table() -> str:
    """Return the table of the alerts."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    rows = [
        (rule["alert"], rule["labels"]["severity"], rule.get("for", ""), rule["annotations"]["description"])
        for rule in rules
    ]
    lines = (f"| `{name}` | {severity} | {time} | {' '.join(text.split())} |\n" for name, severity, time, text in rows)
    return "| alert | severity | after | what it means |\n|---|---|---|---|\n" + "".join(lines)


def filled(page: str) -> str:
    """Return the page with current tables."""
    for name, table in (("service", service_table()), ("alerts", alerts_table())):
        page = re.sub(TABLE.format(name, ".*?"), TABLE.format(name, table).replace("\\", r"\\"), page, flags=re.DOTALL)
    return page


def test_tables() -> None:
    """The page lists every metric of the service and every alert."""
    page = PAGE.read_text("utf-8")
    assert "<!-- service -->" in page
    assert "<!-- alerts -->" in page
    assert page == filled(page), "update it with python -m tests.docs.test_monitoring"


def test_metrics_of_the_gateway_are_documented() -> None:
    """The page lists the gateway's metrics."""
    text = gateway_metrics().decode()
    families = re.findall(r"^# TYPE (tintype_\w+) (?:counter|gauge|histogram)$", text, re.MULTILINE)
    listed = re.findall(r"^\| `(tintype_gateway_\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(name for name in families if not name.endswith("_created"))


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
