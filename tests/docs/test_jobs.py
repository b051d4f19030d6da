"""The page about jobs shows the same table of moves as the code."""

import re
from pathlib import Path

from dozo.model.job_states import JOB_TRANSITIONS, JobState
from dozo.services import operations

PAGE = (Path(__file__).parents[2] / "docs/jobs.md").read_text()


def test_every_move_is_shown_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| `(\w+)` \|$", PAGE, flags=re.MULTILINE)
    moves = [(state, event, to) for (state, event), to in JOB_TRANSITIONS.items()]
    assert sorted(rows) == sorted(moves)


def test_every_state_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|`]+ \|$", PAGE, flags=re.MULTILINE)
    assert rows == list(JobState)


def test_what_a_crash_does_to_each_kind_is_told() -> None:
    rows = re.findall(
        r"^\| `([\w.-]+)` \| (runs again|ends \*interrupted\*) \|", PAGE, re.MULTILINE
    )
    told = {kind: end == "runs again" for kind, end in rows}
    assert told == {name: kind.repeatable({}) for name, kind in operations.KINDS.items()}
