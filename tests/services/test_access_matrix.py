"""Every role, every operation, on an object of the own tenant, of another one, and of none."""

import pytest

from dozo.services.access import Actor, ActorKind, Operation, Role, Verdict, decide

# One group of three letters an actor: an object of its own tenant, of another tenant, of none.
#   y allowed     - forbidden     ? does not exist     L a login is needed
# Operators and the site's auditors have no tenant: all objects are the same to them.
MATRIX = """
operation                member tadmin operator auditor t-auditor nobody
health.show                yyy    yyy    yyy     yyy     yyy      yyy
session.login              yyy    yyy    yyy     yyy     yyy      yyy
session.logout             yyy    yyy    yyy     yyy     yyy      LLL
account.show               yyy    yyy    yyy     yyy     yyy      LLL
account.update             yyy    yyy    yyy     yyy     yyy      LLL
account.change-password    yyy    yyy    yyy     yyy     yyy      LLL
account.second-factor      yyy    yyy    yyy     yyy     yyy      LLL
token.create               yyy    yyy    yyy     yyy     yyy      LLL
token.list                 yyy    yyy    yyy     yyy     yyy      LLL
token.show                 yyy    yyy    yyy     yyy     yyy      LLL
token.revoke               yyy    yyy    yyy     yyy     yyy      LLL
server.list                y?y    y?y    yyy     yyy     y?y      LLL
server.show                y??    y??    yyy     yyy     y??      LLL
server.create              y??    y??    yyy     ---     -??      LLL
server.start               y??    y??    yyy     ---     -??      LLL
server.stop                y??    y??    yyy     ---     -??      LLL
server.delete              -??    y??    yyy     ---     -??      LLL
server.track               y??    y??    yyy     ---     -??      LLL
server.untrack             y??    y??    yyy     ---     -??      LLL
server.tag                 -??    y??    yyy     ---     -??      LLL
server.assign              -??    -??    yyy     ---     -??      LLL
volume.list                y?y    y?y    yyy     yyy     y?y      LLL
volume.show                y??    y??    yyy     yyy     y??      LLL
volume.create              y??    y??    yyy     ---     -??      LLL
volume.attach              y??    y??    yyy     ---     -??      LLL
volume.detach              y??    y??    yyy     ---     -??      LLL
volume.delete              -??    y??    yyy     ---     -??      LLL
snapshot.list              y?y    y?y    yyy     yyy     y?y      LLL
snapshot.show              y??    y??    yyy     yyy     y??      LLL
snapshot.create            y??    y??    yyy     ---     -??      LLL
snapshot.delete            y??    y??    yyy     ---     -??      LLL
snapshot.undelete          y??    y??    yyy     ---     -??      LLL
snapshot.verify            y??    y??    yyy     ---     -??      LLL
snapshot.copy              y??    y??    yyy     ---     -??      LLL
snapshot.restore-file      y??    y??    yyy     ---     -??      LLL
recovery-point.list        y?y    y?y    yyy     yyy     y?y      LLL
recovery-point.show        y??    y??    yyy     yyy     y??      LLL
recovery-point.create      y??    y??    yyy     ---     -??      LLL
recovery-point.delete      y??    y??    yyy     ---     -??      LLL
recovery-point.undelete    y??    y??    yyy     ---     -??      LLL
recovery-point.verify      y??    y??    yyy     ---     -??      LLL
recovery-point.copy        y??    y??    yyy     ---     -??      LLL
template.list              y?y    y?y    yyy     yyy     y?y      LLL
template.show              y??    y??    yyy     yyy     y??      LLL
template.create            y??    y??    yyy     ---     -??      LLL
template.delete            y??    y??    yyy     ---     -??      LLL
restore.server             y??    y??    yyy     ---     -??      LLL
restore.volume             y??    y??    yyy     ---     -??      LLL
restore.in-place           y??    y??    yyy     ---     -??      LLL
schedule.list              y?y    y?y    yyy     yyy     y?y      LLL
schedule.show              y??    y??    yyy     yyy     y??      LLL
schedule.preview           y??    y??    yyy     yyy     y??      LLL
schedule.create            y??    y??    yyy     ---     -??      LLL
schedule.update            y??    y??    yyy     ---     -??      LLL
schedule.delete            y??    y??    yyy     ---     -??      LLL
schedule.run               y??    y??    yyy     ---     -??      LLL
hold.list                  y?y    y?y    yyy     yyy     y?y      LLL
hold.show                  y??    y??    yyy     yyy     y??      LLL
hold.place                 -??    y??    yyy     ---     -??      LLL
hold.extend                -??    y??    yyy     ---     -??      LLL
job.list                   y?y    y?y    yyy     yyy     y?y      LLL
job.show                   y??    y??    yyy     yyy     y??      LLL
job.cancel                 y??    y??    yyy     ---     -??      LLL
user.list                  -?-    y?y    yyy     yyy     y?y      LLL
user.show                  -??    y??    yyy     yyy     y??      LLL
user.create                -??    y??    yyy     ---     -??      LLL
user.update                -??    y??    yyy     ---     -??      LLL
user.set-password          -??    y??    yyy     ---     -??      LLL
user.reset-second-factor   -??    y??    yyy     ---     -??      LLL
user.disable               -??    y??    yyy     ---     -??      LLL
user.enable                -??    y??    yyy     ---     -??      LLL
user.token-list            -??    y??    yyy     yyy     y??      LLL
user.token-revoke          -??    y??    yyy     ---     -??      LLL
tenant.list                y?y    y?y    yyy     yyy     y?y      LLL
tenant.show                y??    y??    yyy     yyy     y??      LLL
tenant.create              ---    ---    yyy     ---     ---      LLL
tenant.disable             -??    -??    yyy     ---     -??      LLL
tenant.enable              -??    -??    yyy     ---     -??      LLL
policy.show                y??    y??    yyy     yyy     y??      LLL
policy.set                 -??    -??    yyy     ---     -??      LLL
quota.show                 y??    y??    yyy     yyy     y??      LLL
site.list                  y?y    y?y    yyy     yyy     y?y      LLL
site.show                  ---    ---    yyy     yyy     ---      LLL
site.add-peer              ---    ---    yyy     ---     ---      LLL
site.rebuild               ---    ---    yyy     ---     ---      LLL
site.rebuild-catalog       ---    ---    yyy     ---     ---      LLL
site.prune                 ---    ---    yyy     ---     ---      LLL
site.scrub                 ---    ---    yyy     ---     ---      LLL
site.sync                  ---    ---    yyy     ---     ---      LLL
site.retain                ---    ---    yyy     ---     ---      LLL
site.repair                ---    ---    yyy     ---     ---      LLL
audit.list                 -?-    y?y    yyy     yyy     y?y      LLL
audit.export               -?-    y?y    yyy     yyy     y?y      LLL
audit.verify               ---    ---    yyy     yyy     ---      LLL
settings.show              ---    ---    yyy     yyy     ---      LLL
metrics.show               ---    ---    yyy     yyy     ---      LLL
doctor.run                 ---    ---    yyy     yyy     ---      LLL
notification.test          ---    ---    yyy     ---     ---      LLL
"""

MEANING = {
    "y": Verdict.ALLOWED,
    "-": Verdict.FORBIDDEN,
    "?": Verdict.HIDDEN,
    "L": Verdict.LOGIN_REQUIRED,
}
TENANTS = ("own", "other", None)


def user(role: Role, tenant: str | None) -> Actor:
    return Actor(
        kind=ActorKind.USER, name="user:someone", role=role, tenant=tenant, username="someone"
    )


ACTORS: tuple[Actor | None, ...] = (
    user(Role.MEMBER, "own"),
    user(Role.TENANT_ADMIN, "own"),
    user(Role.OPERATOR, None),
    user(Role.AUDITOR, None),
    user(Role.AUDITOR, "own"),
    None,
)
ROWS = [line.split() for line in MATRIX.strip().splitlines()[1:]]
CASES = [
    (actor, Operation(operation), tenant, MEANING[letter])
    for operation, *groups in ROWS
    for actor, letters in zip(ACTORS, groups, strict=True)
    for tenant, letter in zip(TENANTS, letters, strict=True)
]


def test_the_matrix_has_every_operation_once() -> None:
    assert sorted(row[0] for row in ROWS) == sorted(Operation)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_who_may_do_what_to_what(row: list[str]) -> None:
    for actor, operation, tenant, wanted in CASES:
        if operation.value == row[0]:
            who = f"{actor.role.value} of {actor.tenant}" if actor else "nobody"
            assert decide(actor, operation, tenant) is wanted, f"{who}, an object of {tenant}"


def test_nobody_gets_health_and_login_and_nothing_else() -> None:
    allowed = [one for one in Operation if decide(None, one) is Verdict.ALLOWED]
    assert allowed == [Operation.HEALTH_SHOW, Operation.SESSION_LOGIN]


@pytest.mark.parametrize("operation", Operation)
def test_an_auditor_changes_nothing_of_anybodys(operation: Operation) -> None:
    if operation.group in {"session", "account", "token", "health"}:
        return
    reads = operation.verb in {
        "list",
        "show",
        "preview",
        "export",
        "verify",
        "run",
        "token-list",
    } and operation.value not in {
        "schedule.run",
        "snapshot.verify",
        "recovery-point.verify",
    }
    verdict = decide(user(Role.AUDITOR, None), operation, "any")
    assert (verdict is Verdict.ALLOWED) == reads


def test_whoever_must_change_the_password_can_do_that_alone() -> None:
    actor = Actor(
        kind=ActorKind.USER, name="user:new", role=Role.OPERATOR, must_change_password=True
    )
    allowed = {one.value for one in Operation if decide(actor, one) is Verdict.ALLOWED}
    assert allowed == {
        "health.show",
        "session.login",
        "session.logout",
        "account.show",
        "account.change-password",
    }


def test_dozo_itself_may_do_everything_and_a_schedule_what_a_member_may() -> None:
    for operation in Operation:
        assert decide(Actor.system(), operation, "any") is Verdict.ALLOWED
        for tenant in TENANTS:
            assert decide(Actor.schedule("s1", "own"), operation, tenant) is decide(
                user(Role.MEMBER, "own"), operation, tenant
            )
