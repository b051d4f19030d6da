"""The log: no secrets, one line an event, and what it is about."""

import io
import json
import logging

import pytest

from dozo.daemon import logs
from dozo.model.redaction import redacted

SECRET = "hunter2-x"


@pytest.mark.parametrize(
    "text",
    [
        f"login with dozo_{SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: Basic {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f'{{"authorization":"{SECRET}"}}',
        f"bearer {SECRET}{SECRET}",
        f"postgresql://dozo:{SECRET}@db.example.org/dozo",
        f"postgresql+psycopg://dozo:{SECRET}@db/dozo?sslmode=require",
        f"mailto://user:{SECRET}@example.org?to=x",
        f"postgresql://dozo:a@{SECRET}@db/dozo",
        f"postgresql://db/dozo?user=dozo&password={SECRET}",
        f"password={SECRET}",
        f'{{"new_password": "{SECRET} with spaces"}}',
        f"PasswordRefused(password='{SECRET}')",
        f"/x?token={SECRET}&limit=3",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert SECRET not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "snapshot 5f0c of volume web/vdb is verified",
        "cannot reach https://dr.example.org:8790/api/v1 at 12:30",
        "the password is in /var/lib/dozo/first-password",
        "user alice@example.org logged in",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(autouse=True)
def _logging_as_before() -> object:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)


def test_json_lines_say_what_they_are_about(stream: io.StringIO) -> None:
    logs.set_up("main", logs.LogFormat.AUTO, stream)
    log = logging.getLogger("dozo.test")
    with logs.about(job="j1"):
        log.info("begins\nwith password=%s", SECRET)
    log.info("ends", extra={"facts": {"ms": 3, "url": f"x://a:{SECRET}@b"}})
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["site"], first["job"], first["level"]) == ("main", "j1", "info")
    assert "job" not in second
    assert second["ms"] == 3
    assert SECRET not in stream.getvalue()


def test_text_is_one_line_an_event_and_a_trace_hides_secrets_too(stream: io.StringIO) -> None:
    logs.set_up("main", logs.LogFormat.TEXT, stream)
    log = logging.getLogger("dozo.test")
    log.info("one\ntwo")
    try:
        int(f"postgresql://a:{SECRET}@b")
    except ValueError:
        log.exception("broke")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("one | two")
    assert "Traceback" in lines[2]
    assert SECRET not in stream.getvalue()


def test_nothing_in_a_line_acts_on_the_terminal(stream: io.StringIO) -> None:
    logs.set_up("main", logs.LogFormat.TEXT, stream)
    facts = {"client": "1.2.3.4\nforged"}
    logging.getLogger("x").warning("\x1b[2J cleared\rforged\nline", extra={"facts": facts})
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line
    assert "\r" not in line
    assert "cleared" in line
