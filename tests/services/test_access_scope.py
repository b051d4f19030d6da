"""What is not theirs does not exist: the same answer, to the letter, as for what nobody has."""

from collections.abc import Callable
from typing import Any

import pytest

from dozo.catalog.errors import ServerUnknown, VolumeUnknown
from dozo.model.errors import DozoError
from dozo.services import access, accounts, login
from dozo.services.access import Forbidden, ObjectHidden, Operation, Role, Scope
from dozo.services.access_errors import TenantUnknown, TokenScopeInvalid, UserUnknown
from dozo.services.access_scopes import TokenScope, parse_scopes, read_scopes
from dozo.services.site import Site

from .access_support import add_server, add_user, system, token_scope
from .support import MadeServer, random_bytes, store


@pytest.fixture
def alice(main: Site) -> Scope:
    """A member of acme, which has the server web; globex has the server vault-of-gold."""
    add_server(main, "web", "acme")
    add_server(main, "vault-of-gold", "globex")
    return add_user(main, "alice", Role.MEMBER, "acme")


def stored_for(site: Site, name: str, tenant: str) -> str:
    """A server with a recovery point of one snapshot, which is a tenant's."""
    made = store(site, MadeServer.new(name), "vda", random_bytes(len(name), 4096))
    owner = site.tenant_row(tenant)
    site.catalog.snapshots.filter(snapshot_id=made).update(tenant=owner)
    site.catalog.servers.filter(name=name).update(tenant=owner)
    site.catalog.volumes.filter(server__name=name).update(tenant=owner, state="attached")
    row = site.catalog.snapshots.get(snapshot_id=made)
    row.recovery_point = site.catalog.recovery_points.create(
        recovery_point_id=f"{row.snapshot_id[::-1]}",
        name=f"{name}-point",
        server=site.catalog.servers.get(name=name),
        created_at=row.created_at,
    )
    row.save()
    return made


LOOKUPS: dict[str, Callable[[Scope, str], Any]] = {
    "server": lambda scope, reference: scope.server(reference, Operation.SERVER_START),
    "volume": lambda scope, reference: scope.volume(reference, Operation.VOLUME_SHOW),
    "snapshot": lambda scope, reference: scope.snapshot(reference, Operation.SNAPSHOT_DELETE),
    "recovery point": lambda scope, reference: scope.recovery_point(
        reference, Operation.RECOVERY_POINT_SHOW
    ),
    "template": lambda scope, reference: scope.template(reference, Operation.TEMPLATE_SHOW),
    "tenant": lambda scope, reference: scope.tenant(reference, Operation.TENANT_SHOW),
    "user": lambda scope, reference: scope.user(reference, Operation.USER_SHOW),
}


def references_of_globex(site: Site) -> list[tuple[str, str]]:
    """Every way in which what globex has can be named."""
    catalog = site.catalog
    snapshot = stored_for(site, "golden", "globex")
    add_user(site, "eve", Role.MEMBER, "globex")
    owner = site.tenant_row("globex")
    copied = catalog.snapshots.get(snapshot_id=snapshot)
    catalog.templates.create(
        snapshot_id="f" * 32,
        name="golden-image",
        tenant=owner,
        origin_site=copied.origin_site,
        created_at=copied.created_at,
        bytes_volume=1,
    )
    found = [("tenant", "globex"), ("user", "eve"), ("template", "golden-image")]
    found.append(("template", "f" * 12))
    for server in catalog.servers.filter(tenant=owner):
        found += [("server", server.name), ("server", str(server.uuid))]
        found.append(("server", str(server.uuid)[:6]))
        found.append(("volume", f"{server.name}/vda"))
        found.append(("volume", f"{server.uuid}/vda"))
    for volume in catalog.volumes.filter(tenant=owner):
        found += [("volume", volume.name), ("volume", str(volume.volume_id))]
    found += [("snapshot", snapshot), ("snapshot", copied.name)]
    found += [
        (word, reference)
        for row in catalog.recovery_points.filter(server__name="golden")
        for word, reference in [
            ("recovery point", row.recovery_point_id),
            ("recovery point", row.name),
        ]
    ]
    return found


def answer(call: Callable[[Scope, str], Any], scope: Scope, reference: str) -> str:
    with pytest.raises(DozoError) as caught:
        call(scope, reference)
    error = caught.value
    everything = f"{type(error).__name__} {error} {error.hint_text()} {error.details()}"
    return everything.replace(reference, "REFERENCE")


def test_another_tenant_s_object_answers_as_one_that_does_not_exist(
    main: Site, alice: Scope
) -> None:
    stored_for(main, "mine", "acme")
    references = references_of_globex(main)
    assert {word for word, _ in references} == set(LOOKUPS)
    for word, reference in references:
        LOOKUPS[word](system(main), reference)
        nonexistent = "no/vda" if "/" in reference else "nothing-like-it"
        theirs = answer(LOOKUPS[word], alice, reference)
        assert theirs == answer(LOOKUPS[word], alice, nonexistent)
        assert "gold" not in theirs


def test_what_there_is_names_only_what_is_theirs(alice: Scope) -> None:
    with pytest.raises(ServerUnknown, match=r"no server 'wab' \(there is: web\)"):
        alice.server("wab")
    with pytest.raises(VolumeUnknown, match=r"\(there is: web-vda\)"):
        alice.volume("wab")


def test_a_name_that_both_have_is_not_ambiguous(main: Site, alice: Scope) -> None:
    add_server(main, "db", "acme")
    theirs = add_server(main, "db", "globex")
    assert alice.server("db").tenant.name == "acme"
    assert system(main).server(str(theirs)).tenant.name == "globex"


def test_lists_hold_what_is_theirs(main: Site, alice: Scope) -> None:
    mine = stored_for(main, "mine", "acme")
    stored_for(main, "golden", "globex")
    assert {row.name for row in alice.servers} == {"web", "mine"}
    assert {row.tenant.name for row in alice.volumes} == {"acme"}
    assert [row.snapshot_id for row in alice.snapshots] == [mine]
    assert [row.name for row in alice.tenants] == ["acme"]
    assert [row.username for row in alice.users] == ["alice"]
    assert system(main).servers.count() == 4


def test_a_server_that_changed_hands_takes_no_old_snapshot_along(main: Site, alice: Scope) -> None:
    old = stored_for(main, "moved", "globex")
    main.catalog.servers.filter(name="moved").update(tenant=main.tenant_row("acme"))
    assert alice.server("moved")
    assert old not in {row.snapshot_id for row in alice.snapshots}
    assert not alice.recovery_points.filter(server__name="moved").exists()


def test_permit_hides_what_was_not_looked_up_here(main: Site, alice: Scope) -> None:
    foreign = main.catalog.servers.get(name="vault-of-gold")
    with pytest.raises(ObjectHidden):
        alice.permit(Operation.SERVER_SHOW, foreign)
    with pytest.raises(Forbidden):
        alice.server("web", Operation.SERVER_ASSIGN)
    alice.permit(Operation.SERVER_LIST)
    with pytest.raises(Forbidden):
        alice.permit(Operation.SITE_PRUNE)


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "snapshot.*",
        "*.list",
        "snapshot.create",
        "snapshot.create:volume=5d7c3a52-7a0e-4a0c-9a2e-0d4f6c1b2a31",
        "recovery-point.*:server=8b1f2c6e-3f4d-4e8a-b1c7-6a5d4e3f2b10",
        "metrics.show",
    ],
)
def test_scopes_are_written_as_they_are_read(text: str) -> None:
    assert str(TokenScope.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "snapshot",
        "snapshot.",
        "snapshot.explode",
        ".*",
        "*.*",
        "**",
        "snapshot.create:",
        "snapshot.create:volume",
        "snapshot.create:volume=",
        "snapshot.create:volume=web",
        "snapshot.create:job=00000000-0000-4000-8000-000000000000",
        "metrics.show:volume=00000000-0000-4000-8000-000000000000",
        "token.create",
        "account.change-password",
        " snapshot.create",
    ],
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(TokenScopeInvalid):
        parse_scopes([text])


def test_a_token_needs_a_scope_and_forgets_those_that_this_version_does_not_know() -> None:
    with pytest.raises(TokenScopeInvalid):
        parse_scopes([])
    assert [str(one) for one in read_scopes(["teleport.start", "job.show"])] == ["job.show"]


def test_a_cron_job_s_token_snapshots_its_volume_and_nothing_else(main: Site, alice: Scope) -> None:
    add_server(main, "db", "acme")
    mine = main.catalog.volumes.get(name="web-vda")
    cron = token_scope(alice, f"snapshot.create:volume={mine.volume_id}")
    assert cron.volume("web/vda", Operation.SNAPSHOT_CREATE) == mine
    assert cron.volume(str(mine.volume_id), Operation.SNAPSHOT_CREATE) == mine
    for reference in ("db-vda", "db/vda", "vault-of-gold-vda"):
        with pytest.raises(VolumeUnknown) as caught:
            cron.volume(reference, Operation.SNAPSHOT_CREATE)
        assert caught.value.near == ["web-vda"]
    with pytest.raises(Forbidden):
        cron.volume("web/vda", Operation.VOLUME_DETACH)
    with pytest.raises(ServerUnknown):
        cron.server("web")
    allowed = {
        one.value
        for one in Operation
        if access.decide(cron.actor, one, "acme", about=access.about(mine))
        is access.Verdict.ALLOWED
    }
    assert allowed == {"health.show", "session.login", "snapshot.create"}


def test_a_token_sees_the_job_that_it_made_and_no_other(alice: Scope, main: Site) -> None:
    volume = main.catalog.volumes.get(name="web-vda")
    cron = token_scope(alice, f"snapshot.create:volume={volume.volume_id}")
    access.permit(cron.actor, Operation.JOB_SHOW, "acme", made_by=cron.actor.name)
    for made_by in ("user:alice", "", "token:alice/0000000000"):
        with pytest.raises(Forbidden):
            access.permit(cron.actor, Operation.JOB_SHOW, "acme", made_by=made_by)
    with pytest.raises(ObjectHidden):
        access.permit(cron.actor, Operation.JOB_SHOW, "globex", made_by=cron.actor.name)


def test_a_server_s_token_reaches_its_volumes(main: Site, alice: Scope) -> None:
    server = main.catalog.servers.get(name="web")
    scope = token_scope(alice, f"*:server={server.uuid}")
    assert scope.server("web", Operation.RECOVERY_POINT_CREATE)
    assert scope.volume("web-vda", Operation.SNAPSHOT_CREATE)
    assert [row.name for row in scope.servers] == ["web"]
    # Not about one server, so not in a scope that is.
    for operation in (Operation.JOB_LIST, Operation.TENANT_SHOW, Operation.QUOTA_SHOW):
        with pytest.raises(Forbidden):
            access.permit(scope.actor, operation, "acme")


@pytest.mark.parametrize("role", [Role.MEMBER, Role.TENANT_ADMIN, Role.AUDITOR])
def test_a_token_never_exceeds_its_owner(main: Site, role: Role) -> None:
    owner = add_user(main, "owner", role, "acme")
    token = token_scope(owner, "*")
    for operation in Operation:
        for tenant in ("acme", "globex", None):
            verdict = access.decide(token.actor, operation, tenant)
            if verdict is access.Verdict.ALLOWED:
                assert access.decide(owner.actor, operation, tenant) is verdict


def test_a_token_loses_what_its_owner_loses(main: Site) -> None:
    admin = add_user(main, "boss", Role.TENANT_ADMIN, "acme")
    issued = accounts.issue_token(admin, name="all", scopes=["*"])
    accounts.update_user(system(main), "boss", role=Role.MEMBER)
    actor = login.authenticate(main, issued.token)
    with pytest.raises(Forbidden):
        access.permit(actor, Operation.USER_CREATE, "acme")


def test_nobody_s_user_and_tenant_lookups(alice: Scope) -> None:
    with pytest.raises(TenantUnknown):
        alice.tenant("globex")
    with pytest.raises(UserUnknown):
        alice.user("root")
