"""The audit trail: complete, chained, append-only, and without secrets."""

import io
import json
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connections

from dozo.catalog.models_access import AppendOnly
from dozo.model import clock
from dozo.services import accounts, audit, job_queue, login, operations, schedules
from dozo.services.access import Forbidden, Operation, Role, Scope
from dozo.services.access_errors import AuditTrailBroken, LoginFailed
from dozo.services.audit import AuditObject, Outcome
from dozo.services.site import Site

from .access_support import PASSWORD, SYSTEM, TestClock, add_server, add_user, system
from .support import NOON, MadeServer, random_bytes, store

pytestmark = pytest.mark.postgres


def trail(site: Site) -> list[tuple[str, str, str, str]]:
    return [
        (one.actor, one.operation, one.object_name, one.outcome)
        for one in site.catalog.audit_entries.all()
    ]


def fill(site: Site, entries: int = 5) -> None:
    for number in range(entries):
        audit.record(
            site,
            SYSTEM,
            Operation.SERVER_START,
            AuditObject(kind="server", id=str(number), name="wéb 土蔵", tenant="acme"),
            detail={"number": number, "share": 0.1, "at": clock.now(), "none": None},
        )


def test_changes_and_refusals_are_recorded(main: Site) -> None:
    member = add_user(main, "alice", Role.MEMBER, "acme")
    with pytest.raises(Forbidden):
        accounts.create_user(member, "zoe", password=PASSWORD)
    with pytest.raises(LoginFailed):
        login.login(main, "alice", "wrong", source="192.0.2.7")
    login.login(main, "alice", PASSWORD, source="192.0.2.7")
    assert trail(main) == [
        ("system:test", "user.create", "alice", "done"),
        ("user:alice", "user.create", "zoe", "refused"),
        ("nobody", "session.login", "alice", "refused"),
        ("user:alice", "session.login", "alice", "done"),
    ]
    rows = list(main.catalog.audit_entries.all())
    assert [one.source for one in rows] == ["", "192.0.2.1", "192.0.2.7", "192.0.2.7"]
    assert rows[1].detail["error"] == "access.forbidden"
    assert {one.tenant for one in rows} == {"acme"}


def test_what_failed_is_taken_back_and_recorded(main: Site) -> None:
    add_server(main, "web", "acme")
    scope = system(main)

    def change_and_fail() -> None:
        with audit.audited(scope, Operation.SERVER_TAG, reference="web") as attempt:
            row = scope.server("web", Operation.SERVER_TAG)
            attempt.on(row)
            row.tags = ["gold"]
            row.save()
            raise RuntimeError("the password is hunter2")

    with pytest.raises(RuntimeError):
        change_and_fail()
    assert main.catalog.server("web").tags == []
    entry = main.catalog.audit_entries.get()
    assert (entry.outcome, entry.object_name, entry.tenant) == ("failed", "web", "acme")
    assert entry.detail == {"error": "RuntimeError"}


def test_a_refusal_cannot_be_taken_back_by_a_transaction_around_it(main: Site) -> None:
    scope = system(main)
    with (
        pytest.raises(RuntimeError),
        main.catalog.transaction(),
        audit.audited(scope, Operation.SERVER_TAG),
    ):
        pass


def test_the_chain_holds(main: Site) -> None:
    assert audit.verify(system(main)).entries == 0
    fill(main)
    checked = audit.verify(system(main))
    assert checked.entries == 5
    assert checked.hash == main.catalog.audit_entries.last().hash  # type: ignore[union-attr]


def sql(site: Site, statement: str) -> None:
    with connections[site.catalog.alias].cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("UPDATE catalog_auditentry SET actor = 'user:mallory' WHERE sequence = 3", 3),
        ("UPDATE catalog_auditentry SET outcome = 'done ' WHERE sequence = 5", 5),
        ("UPDATE catalog_auditentry SET detail = '{}' WHERE sequence = 2", 2),
        ("DELETE FROM catalog_auditentry WHERE sequence = 1", 1),
        ("DELETE FROM catalog_auditentry WHERE sequence = 3", 3),
        ("DELETE FROM catalog_auditentry WHERE sequence > 3", 5),
        ("DELETE FROM catalog_auditentry", 5),
        ("DELETE FROM catalog_audithead", 0),
        ("UPDATE catalog_audithead SET sequence = 4", 4),
    ],
)
def test_what_somebody_did_to_the_trail_shows(main: Site, statement: str, sequence: int) -> None:
    fill(main)
    sql(main, statement)
    with pytest.raises(AuditTrailBroken) as caught:
        audit.verify(system(main))
    assert caught.value.sequence == sequence


def test_the_code_cannot_change_entries(main: Site) -> None:
    fill(main, 2)
    entry = main.catalog.audit_entries.all()[0]
    entry.actor = "user:mallory"
    for call in (
        entry.save,
        entry.delete,
        main.catalog.audit_entries.delete,
        main.catalog.audit_entries.filter(sequence=1).delete,
        lambda: main.catalog.audit_entries.update(actor="x"),
        lambda: main.catalog.audit_entries.bulk_update([entry], ["actor"]),
    ):
        with pytest.raises(AppendOnly):
            call()
    audit.verify(system(main))


SECRETS: dict[str, Any] = {
    "password": "s3cr3t-value",
    "Old-Password": "s3cr3t-value",
    "nested": {"api_token": "s3cr3t-value", "list": [{"client_secret": "s3cr3t-value"}]},
    "headers": {"Authorization": "Bearer s3cr3t-value", "Set-Cookie": "s3cr3t-value"},
    "private_key": "s3cr3t-value",
    "passphrase": ["s3cr3t-value"],
    "note": "used dozo_0123456789_abcdefghijklmnopqrstuvwxyzs3cr3t to log in",
}


def test_no_secret_is_recorded(main: Site) -> None:
    audit.record(main, SYSTEM, Operation.USER_UPDATE, detail=SECRETS)
    text = json.dumps(main.catalog.audit_entries.get().detail)
    assert "s3cr3t" not in text
    assert "to log in" in text


def test_the_secrets_of_accounts_never_get_there(main: Site) -> None:
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    accounts.set_password(system(main), "alice", "another good password")
    token = accounts.issue_token(alice, name="cron", scopes=["*"]).token
    accounts.change_password(alice, "another good password", "a third good password")
    text = str(list(main.catalog.audit_entries.values()))
    for secret in (PASSWORD, "another good", "a third good", token.split("_")[2]):
        assert secret not in text


def test_details_are_plain_and_bounded(main: Site) -> None:
    audit.record(
        main,
        SYSTEM,
        Operation.JOB_CANCEL,
        AuditObject(name="x" * 5000),
        detail={"nul": "a\0b", "half": "\ud800", "long": "y" * 10000, "many": list(range(1000))},
    )
    entry = main.catalog.audit_entries.get()
    assert entry.detail["nul"] == "ab"
    assert len(entry.detail["long"]) == 2000
    assert len(entry.detail["many"]) == 200
    assert len(entry.object_name) == 255
    audit.verify(system(main))


def test_a_tenant_admin_reads_the_own_tenant_s_part(main: Site) -> None:
    add_user(main, "eve", Role.MEMBER, "globex")
    admin = add_user(main, "admin1", Role.TENANT_ADMIN, "acme")
    assert {one.tenant for one in audit.entries(admin)} == {"acme"}
    member = add_user(main, "alice", Role.MEMBER, "acme")
    with pytest.raises(Forbidden):
        audit.entries(member)
    assert trail(main)[-1] == ("user:alice", "audit.list", "", "refused")


def test_the_export_is_json_lines_and_is_recorded(main: Site) -> None:
    made = TestClock(NOON)
    with clock.use_clock(made):
        fill(main, 3)
        made.sleep(3600)
        fill(main, 2)
        auditor = add_user(main, "auditor", Role.AUDITOR)
        file = io.StringIO()
        count = audit.export(auditor, file, since=NOON + timedelta(minutes=1))
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert count == len(lines)
    assert [one["operation"] for one in lines[:3]] == [
        "server.start",
        "server.start",
        "user.create",
    ]
    assert lines[0]["object_name"] == "wéb 土蔵"
    for before, after in pairwise(lines):
        assert after["previous_hash"] == before["hash"]
    assert trail(main)[-1][:2] == ("user:auditor", "audit.export")


def test_entries_are_filtered(main: Site) -> None:
    add_user(main, "alice", Role.MEMBER, "acme")
    fill(main, 2)
    scope: Scope = system(main)
    assert len(audit.entries(scope, operation="server.start")) == 2
    assert len(audit.entries(scope, outcome=Outcome.REFUSED)) == 0
    assert len(audit.entries(scope, actor="system:test")) == 3


def test_jobs_and_schedules_that_people_ask_for_are_recorded(main: Site) -> None:
    made = store(main, MadeServer.new("web"), "vda", random_bytes(1))
    boss = add_user(main, "boss", Role.TENANT_ADMIN, "default")
    auditor = add_user(main, "auditor", Role.AUDITOR)
    kind = operations.kind("snapshot.verify")
    job = job_queue.submit(boss, kind, {"snapshots": [made]}).job_id
    with pytest.raises(Forbidden):
        job_queue.submit(auditor, kind, {"snapshots": [made]})
    job_queue.submit(system(main), kind, {"snapshots": [made]})
    fields = {
        "name": "nightly",
        "server": "web",
        "mode": "live",
        "timing": {"kind": "hourly", "minute": 0, "zone": "UTC"},
        "keep": {"count": 3},
    }
    main.catalog.servers.update(present=True)
    row = main.catalog.schedules.get(schedule_id=schedules.create(boss, fields).schedule)
    with pytest.raises(Forbidden):
        schedules.delete(Scope(main, auditor.actor), row)
    schedules.delete(boss, row)
    seen = main.catalog.audit_entries.exclude(operation="user.create")
    assert [(one.actor, one.operation, one.outcome) for one in seen] == [
        ("user:boss", "snapshot.verify", "done"),
        ("user:auditor", "snapshot.verify", "refused"),
        ("user:boss", "schedule.create", "done"),
        ("user:auditor", "schedule.delete", "refused"),
        ("user:boss", "schedule.delete", "done"),
    ]
    assert seen[0].detail["job"] == job
    assert {one.object_name for one in seen[2:]} == {"nightly"}
    audit.verify(system(main))
