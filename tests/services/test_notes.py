"""Notes tell the living from the dead."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dozo.services import notes
from dozo.services.notes import Busy


def test_a_held_note_keeps_others_off_and_goes_with_its_block(tmp_path: Path) -> None:
    with (
        notes.hold(tmp_path, "server-1", what="server web", work="a snapshot", kind="snapshot"),
        pytest.raises(Busy, match="server web is busy: a snapshot") as caught,
        notes.hold(tmp_path, "server-1", what="server web", work="another"),
    ):
        pass
    assert caught.value.pid == os.getpid()
    assert notes.read_all(tmp_path) == []
    with notes.hold(tmp_path, "server-1", what="server web", work="another"):
        pass


def test_a_note_goes_when_its_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), notes.hold(tmp_path, "x", what="x", work="y"):
        _ = 1 / 0
    assert notes.read_all(tmp_path) == []


def test_a_killed_writer_leaves_a_note_that_is_known_to_be_stale(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from dozo.services import notes
        with notes.hold(Path({str(tmp_path)!r}), "n", what="web", work="w", kind="k") as note:
            note.update(step=2)
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        (note,) = notes.read_all(tmp_path)
        assert note.alive
        assert notes.stale(tmp_path) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
    (left,) = notes.stale(tmp_path)
    assert (left.what, left.body["kind"], left.body["step"]) == ("web", "k", 2)
    with notes.take_over(left) as note:
        assert note is not None
        assert note.body["step"] == 2
    assert len(notes.stale(tmp_path)) == 1
    with notes.take_over(left) as note:
        assert note is not None
        notes.forget(note)
    assert notes.stale(tmp_path) == []


def test_asking_to_stop_reaches_the_writer(tmp_path: Path) -> None:
    with notes.hold(tmp_path, "n", what="web", work="w") as held:
        assert not held.asked_to_stop
        found = notes.find(tmp_path, "n")
        assert found is not None
        notes.ask_to_stop(found)
        assert held.asked_to_stop
    with notes.hold(tmp_path, "n", what="web", work="w") as held:
        assert not held.asked_to_stop


def test_a_note_torn_by_a_crash_is_still_a_note(tmp_path: Path) -> None:
    (tmp_path / "n.json").write_text("{")
    (note,) = notes.stale(tmp_path)
    assert note.work == "unknown work"


def test_new_work_under_a_leftovers_name_is_not_cleaned_away(tmp_path: Path) -> None:
    (tmp_path / "n.json").write_text("{}")
    (left,) = notes.stale(tmp_path)
    with notes.hold(tmp_path, "n", what="web", work="new"):
        with notes.take_over(left) as note:
            assert note is None
        (now,) = notes.read_all(tmp_path)
        assert (now.alive, now.work) == (True, "new")
