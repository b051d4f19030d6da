"""The page about policies names every setting with the value that each preset has."""

import re
from pathlib import Path
from typing import Any

from dozo.model.policy import PRESETS, RestoreKind, policy_to_json

PAGE = (Path(__file__).parents[2] / "docs/policies.md").read_text()


def shown(value: Any) -> str:
    """A setting's value as the page writes it."""
    if value is None:
        return "any"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def test_every_setting_is_documented_with_the_values_of_both_presets() -> None:
    rows = {
        cells[0].strip("`"): cells[2:4]
        for line in PAGE.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
        and cells[0].startswith("`")
    }
    presets = {name: policy_to_json(PRESETS[name]) for name in ("kcps-v1", "modern")}
    expected = {
        setting: [shown(presets["kcps-v1"][setting]), shown(presets["modern"][setting])]
        for setting in presets["modern"]
        if setting != "preset"
    }
    assert rows == expected


def test_every_kind_of_restore_is_documented() -> None:
    part = PAGE.split("## Kinds of restore")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(.+?)` \|", part, flags=re.MULTILINE) == [
        kind.value for kind in RestoreKind
    ]
