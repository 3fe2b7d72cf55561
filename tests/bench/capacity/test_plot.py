"""The figure of the simulation."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from capacity.plot import BOTTOM, TOP, Curve, draw

SVG = "{http://www.w3.org/2000/svg}"


def test_the_figure_has_both_panels() -> None:
    """Each curve is a line with its label, inside the panel even if a value is not; it has dark colours."""
    values = {1: 5.0, 10: 1.0, 1000: 1e9}
    text = draw([Curve("one", "a", values), Curve("two", "b", values)], [Curve("three", "c", values)])
    figure = ET.fromstring(text)  # noqa: S314 - our own
    lines = figure.findall(f"{SVG}polyline")
    assert [line.get("class") for line in lines] == ["line a", "line b", "line c"]
    heights = [float(point.partition(",")[2]) for line in lines for point in (line.get("points") or "").split()]
    assert min(heights) >= TOP
    assert max(heights) <= BOTTOM
    labels = {each.text: float(each.get("y") or 0) for each in figure.findall(f"{SVG}text")}
    assert {"one", "two", "three"} <= set(labels)
    assert abs(labels["one"] - labels["two"]) >= 15
    assert "prefers-color-scheme: dark" in text
