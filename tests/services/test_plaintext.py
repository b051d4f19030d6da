"""What was encrypted does not come back as plain data without anybody having said so."""

from pathlib import Path

import pytest

from dozo.services import restore_server, restore_volume, templates
from dozo.services.errors import PlaintextNotAccepted
from dozo.services.site import Site

from .domains import PREFIX
from .support import MadeServer, random_bytes, store

POINT = "ab" * 16


def test_a_volume(main: Site) -> None:
    server = MadeServer.new("web")
    plain = store(main, server, "vda", random_bytes(1))
    sealed = store(main, server, "vdb", random_bytes(2), encrypted=True)
    assert restore_volume.plan(main, plain, name="a").warning is None
    plan = restore_volume.plan(main, sealed, name="b")
    assert "restored as plain data" in (plan.warning or "")
    with pytest.raises(PlaintextNotAccepted, match="web-vdb"):
        restore_volume.apply(main, plan)
    assert not Path(plan.path).exists()
    assert Path(restore_volume.apply(main, plan, accept_plaintext=True).path).exists()


@pytest.mark.libvirt
def test_a_server(host_site: Site) -> None:
    server = MadeServer.new(f"{PREFIX}web")
    root = store(host_site, server, "vda", random_bytes(1), point=POINT, encrypted=True)
    store(host_site, server, "vdb", random_bytes(2), point=POINT)
    plan = restore_server.plan(host_site, recovery_point=POINT)
    warnings = [one["warning"] for one in plan.shown()["volumes"]]
    assert warnings == ["encrypted at the source, restored as plain data", None]
    with pytest.raises(PlaintextNotAccepted, match="web-vda"):
        restore_server.apply(host_site, plan)
    assert not any(Path(one.path).exists() for one in plan.volumes)
    assert restore_server.apply(host_site, plan, accept_plaintext=True).name == server.name
    # A template of it does not forget.
    templates.create(host_site, templates.plan(host_site, root, name="golden"))
    plan = restore_server.plan_from_template(host_site, "golden", name=f"{PREFIX}new")
    with pytest.raises(PlaintextNotAccepted):
        restore_server.apply(host_site, plan)
