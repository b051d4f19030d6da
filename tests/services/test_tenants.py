"""Tenants, their policies and servers."""

from datetime import timedelta

import pytest

from dozo.model.policy import PolicyInvalid, PolicyPresetUnknown
from dozo.services import protect, tenants
from dozo.services.access import Forbidden, Operation, Role, Scope
from dozo.services.access_errors import (
    TagInvalid,
    TenantExists,
    TenantNameInvalid,
    TenantUnknown,
)
from dozo.services.site import Site

from .access_support import add_server, add_user
from .support import MadeServer, later, random_bytes, store

pytestmark = pytest.mark.postgres


@pytest.fixture
def operator(main: Site) -> Scope:
    return add_user(main, "op", Role.OPERATOR)


def test_tenants_are_made_once_and_shown_to_those_who_may_see_them(
    main: Site, operator: Scope
) -> None:
    made = tenants.create(operator, "acme")
    assert (made.policy, made.policy_overrides, made.disabled) == ("modern", {}, False)
    tenants.create(operator, "globex", policy="kcps-v1")
    for name in ("acme", "ACME"):
        with pytest.raises(TenantExists):
            tenants.create(operator, name)
    for name in ("", "a b", "../x", "x" * 64, "-x"):
        with pytest.raises(TenantNameInvalid):
            tenants.create(operator, name)
    member = add_user(main, "alice", Role.MEMBER, "acme")
    assert {"acme", "globex"} <= {one.tenant for one in tenants.list_tenants(operator)}
    assert [one.tenant for one in tenants.list_tenants(member)] == ["acme"]
    assert tenants.show(member, "acme").users == 1
    with pytest.raises(TenantUnknown):
        tenants.show(member, "globex")
    with pytest.raises(Forbidden):
        tenants.create(member, "mine")


def test_a_policy_is_a_preset_and_what_differs(main: Site, operator: Scope) -> None:
    tenants.create(operator, "acme")
    tenants.set_policy(operator, "acme", preset="kcps-v1", overrides={"max_generations": 5})
    row = main.catalog.tenants.get(name="acme")
    assert (row.policy, row.policy_overrides) == ("kcps-v1", {"max_generations": 5})
    assert tenants.policy_of(row).max_generations == 5
    member = add_user(main, "alice", Role.MEMBER, "acme")
    assert tenants.show_policy(member, "acme") == tenants.policy_of(row)
    with pytest.raises(PolicyPresetUnknown):
        tenants.set_policy(operator, "acme", preset="lax", overrides={})
    with pytest.raises(PolicyInvalid):
        tenants.set_policy(operator, "acme", preset="modern", overrides={"colour": "red"})
    with pytest.raises(Forbidden):
        tenants.set_policy(member, "acme", preset="modern", overrides={})
    row.refresh_from_db(using=main.catalog.alias)
    assert row.policy == "kcps-v1"


def test_usage_counts_what_is_not_deleted(main: Site, operator: Scope) -> None:
    server = MadeServer.new("web")
    kept = store(main, server, "vda", random_bytes(1))
    gone = store(main, server, "vda", random_bytes(2), at=later(1))
    main.catalog.snapshots.filter(snapshot_id=kept).update(bytes_stored=1000)
    main.catalog.snapshots.filter(snapshot_id=gone).update(
        bytes_stored=500, deleted_at=later(2) + timedelta(0)
    )
    used = tenants.usage(operator, "default")
    assert (used.snapshots, used.bytes_stored, used.templates) == (1, 1000, 0)
    tenants.create(operator, "acme")
    assert tenants.usage(operator, "acme").bytes_stored == 0


def test_an_assigned_server_takes_its_volumes_along_and_no_snapshot(
    main: Site, operator: Scope
) -> None:
    server = MadeServer.new("web")
    snapshot = store(main, server, "vda", random_bytes(1))
    tenants.create(operator, "acme")
    volume = main.catalog.volumes.get(volume_id=server.volume_ids["vda"])
    assert protect.newest_parent(main, volume) is not None
    tenants.assign(operator, "web", "acme")
    volume.refresh_from_db(using=main.catalog.alias)
    assert volume.tenant.name == "acme"
    assert main.catalog.snapshots.get(snapshot_id=snapshot).tenant.name == "default"
    # Its old snapshots are sealed under other keys: the next one is read in full.
    assert protect.newest_parent(main, volume) is None
    member = add_user(main, "alice", Role.MEMBER, "acme")
    assert member.server("web", Operation.SERVER_SHOW)
    assert not member.snapshots.exists()
    with pytest.raises(Forbidden):
        tenants.assign(member, "web", "acme")
    with pytest.raises(TenantUnknown):
        tenants.assign(operator, "web", "nobody")
    entry = main.catalog.audit_entries.filter(operation="server.assign", outcome="done").get()
    assert entry.detail == {"to": "acme", "from": "default"}


def test_tags_are_given_and_taken(main: Site, operator: Scope) -> None:
    add_server(main, "web", "acme")
    admin = add_user(main, "boss", Role.TENANT_ADMIN, "acme")
    assert tenants.set_tags(admin, "web", add=["nightly", "db", "db"]).tags == ["db", "nightly"]
    assert tenants.set_tags(admin, "web", remove=["db"]).tags == ["nightly"]
    for tag in ("", "two words", "x" * 64, "-x", "a/b"):
        with pytest.raises(TagInvalid):
            tenants.set_tags(admin, "web", add=[tag])
    with pytest.raises(TagInvalid):
        tenants.set_tags(admin, "web", add=[f"tag{number}" for number in range(100)])
    assert main.catalog.server("web").tags == ["nightly"]


def test_a_disabled_tenant_keeps_what_it_has(main: Site, operator: Scope) -> None:
    add_server(main, "web", "acme")
    assert tenants.set_disabled(operator, "acme", disabled=True).disabled
    assert main.catalog.server("web").tenant.name == "acme"
    assert not tenants.set_disabled(operator, "acme", disabled=False).disabled
