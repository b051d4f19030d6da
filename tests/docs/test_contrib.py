"""The alert rules and the dashboard name metrics and labels that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "contrib" / "prometheus" / "dozo-alerts.yml"
BOARD = ROOT / "contrib" / "grafana" / "dozo.json"
ROWS = re.findall(
    r"^\| `(dozo_\w+)` \| ([\w, ]*) ?\|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE
)
LABELS = {name: {one.strip() for one in labels.split(",")} - {""} for name, labels in ROWS}
OF_SERIES = {"job", "instance", "le"}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def targets() -> list[tuple[str, str]]:
    panels = json.loads(BOARD.read_text())["panels"]
    return [
        (one["expr"], one["legendFormat"]) for panel in panels for one in panel.get("targets", ())
    ]


def metric(name: str) -> str:
    """The documented metric that a series belongs to."""
    return name if name in LABELS else re.sub(r"_(bucket|sum|count)$", "", name)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        *((rule["expr"], json.dumps(rule["annotations"])) for rule in rules()),
        *targets(),
    ],
)
def test_every_metric_and_label_is_documented(expression: str, words: str) -> None:
    used = {metric(one) for one in re.findall(r"\bdozo_\w+", expression)}
    assert used or expression.startswith("up{")
    assert used <= set(LABELS), used - set(LABELS)
    known = OF_SERIES.union(*(LABELS[one] for one in used))
    by = [
        one.strip() for many in re.findall(r"by \(([^)]*)\)", expression) for one in many.split(",")
    ]
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!=|!~|=)", expression)
    shown = re.findall(r"\$labels\.(\w+)", words) + re.findall(r"\{\{(\w+)\}\}", words)
    assert {*by, *matched, *shown} <= known, {*by, *matched, *shown} - known


def test_each_thing_that_can_be_alerted_on_is_in_the_dashboard() -> None:
    board = {metric(one) for text, _ in targets() for one in re.findall(r"\bdozo_\w+", text)}
    rest = set(LABELS) - board
    # For the choice of a site, and what only a table of all servers could show.
    assert rest <= {
        "dozo_build_info",
        "dozo_server_protection",
        "dozo_server_freeze_seconds",
        "dozo_vault_packs",
    }


def test_every_rule_says_what_it_means() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description"} <= set(rule["annotations"])


def test_no_two_panels_lie_on_each_other() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in json.loads(BOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & seen, panel["title"]
        assert at["x"] + at["w"] <= 24
        seen |= cells
