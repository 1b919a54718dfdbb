"""Dashboards, rows of panels with their queries, and how Grafana reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Json = dict[str, Any]

_WIDTH = 24
_HEIGHT = {"stat": 4, "timeseries": 8, "heatmap": 8, "table": 8}
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Query(NamedTuple):
    """What is asked, and how its series are named: a text with `{{label}}`."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One picture.

    Attributes:
        title: What it shows.
        unit: Grafana's name of the unit: `short`, `s`, `percentunit`, `reqps`, `bytes`.
        queries: Its series; a text is a query whose series are named by their instance, if by anything.
        kind: Grafana's name of the kind of picture.
        text: What one has to know to read it.
        most: The top of the axis, where that is known.
    """

    title: str
    unit: str
    queries: str | Sequence[Query]
    kind: Literal["timeseries", "stat", "heatmap", "table"] = "timeseries"
    text: str = ""
    most: float | None = None


class Dashboard(NamedTuple):
    """A page.

    Attributes:
        name: Of its file, and with `nemotron-` before it, its uid.
        title: What people read.
        rows: Titles, and the panels below them.
        instances_of: The metric whose instances can be picked; empty where none can.
    """

    name: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    instances_of: str = ""


def as_json(dashboard: Dashboard) -> Json:
    """What Grafana reads."""
    panels: list[Json] = []
    top = 0
    for title, row in dashboard.rows:
        panels.append(
            {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _place(0, top, _WIDTH, 1)}
        )
        top += 1
        left = height = 0
        for panel in row:
            width = _WIDTH // min(len(row), 6 if panel.kind == "stat" else 3)
            if left + width > _WIDTH:
                left, top = 0, top + height
            height = _HEIGHT[panel.kind]
            panels.append(_panel(panel) | {"gridPos": _place(left, top, width, height)})
            left += width
        top += height
    return {
        "uid": f"nemotron-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["nemotron"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables(dashboard)},
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "title": "Nemotron", "tags": ["nemotron"], "asDropdown": True, "keepTime": True}
        ],
        "panels": [panel | {"id": number} for number, panel in enumerate(panels, start=1)],
    }


def _place(left: int, top: int, width: int, height: int) -> Json:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel) -> Json:
    now = panel.kind in ("stat", "table")
    legend = {"timeseries": "{{instance}}", "heatmap": "{{le}}"}.get(panel.kind, "__auto")
    queries = [Query(panel.queries, legend)] if isinstance(panel.queries, str) else panel.queries
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": _DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend,
            "format": {"heatmap": "heatmap", "table": "table"}.get(panel.kind, "time_series"),
            "instant": now,
            "range": not now,
        }
        for number, query in enumerate(queries)
    ]
    limits = {"min": 0} | ({} if panel.most is None else {"max": panel.most})
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, **limits}, "overrides": []},
        "options": _options(panel.kind),
    }


def _options(kind: str) -> Json:
    if kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "none"}
    if kind == "heatmap":
        return {"calculate": False, "yAxis": {"unit": "s"}, "cellGap": 1}
    if kind == "table":
        return {"showHeader": True}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


def _variables(dashboard: Dashboard) -> list[Json]:
    picks = [("namespace", "label_values(nemotron_build_info, namespace)")]
    if dashboard.instances_of:
        picks.append(("instance", f'label_values({dashboard.instances_of}{{namespace=~"$namespace"}}, instance)'))
    queries = [
        {
            "name": name,
            "type": "query",
            "datasource": _DATASOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        }
        for name, query in picks
    ]
    return [{"name": "datasource", "type": "datasource", "query": "prometheus", "refresh": 1}, *queries]
