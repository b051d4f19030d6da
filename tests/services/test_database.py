"""A database that was busy while its server was snapshotted is sound after the restore."""

from pathlib import Path
from typing import Any

import pytest

from dozo.model.states import Consistency, Identity
from dozo.services import protect, restore_server

from .support import make_site

pytestmark = pytest.mark.guest

AMCHECK = "runuser -u postgres -- pg_amcheck --all --heapallindexed"
SUMS = (
    "select (select sum(abalance) from pgbench_accounts) ="
    " (select sum(bbalance) from pgbench_branches)"
)


@pytest.mark.parametrize("agent", [True, False])
def test_a_busy_database_is_sound_after_the_restore(
    tmp_path: Path, guest_factory: Any, agent: bool
) -> None:
    guest = guest_factory(agent=agent)
    pool = guest_factory.folder("pool")
    with make_site(tmp_path, "main", libvirt="qemu:///system", pool=pool) as site:
        guest.start_load(seconds=120)
        for _time in range(2):
            made = protect.apply(site, protect.plan_server(site, guest.name))
        guest.domain.destroy()
        assert made.consistency is (Consistency.FILESYSTEM if agent else Consistency.CRASH)
        name = guest_factory.name("restored")
        plan = restore_server.plan(
            site, recovery_point=made.name, name=name, identity=Identity.COPY, start=True
        )
        restore_server.apply(site, plan)
        restored = guest_factory.adopt(name)
        restored.wait_ready()
        restored.wait_postgresql()
        assert restored.sh(AMCHECK, timeout_s=300).strip() == ""
        assert restored.sql(SUMS) == "t"
