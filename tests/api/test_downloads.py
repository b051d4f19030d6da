"""A snapshot over the API: the right bytes, to whoever may have them, never half as a whole."""

import subprocess
from pathlib import Path

import pytest
from tests.services.support import random_bytes

from dozo.model.errors import DozoError
from dozo.web import downloads

from .support import World, token_for

WEB0 = random_bytes(0, 64 * 1024)


def path_of(world: World, name: str = "web0") -> str:
    return f"/snapshots/{world.snapshots[name]}/download"


def test_a_snapshot_comes_as_a_file(world: World, tmp_path: Path) -> None:
    raw = world.get(f"{path_of(world)}?format=raw", "adam")
    assert (raw.status_code, raw.content) == (200, WEB0)
    assert raw.headers["content-length"] == str(len(WEB0))
    assert raw.headers["content-disposition"].startswith('attachment; filename="web-0.raw"')
    whole = world.get(path_of(world), "adam")
    image, plain = tmp_path / "x.qcow2", tmp_path / "x.raw"
    image.write_bytes(whole.content)
    plain.write_bytes(WEB0)
    subprocess.run(["qemu-img", "compare", "-q", image, plain], check=True)
    entries = world.site.catalog.audit_entries.filter(operation="snapshot.restore-file")
    assert [(one.actor.partition("/")[0], one.outcome) for one in entries] == [
        ("token:adam", "done")
    ] * 2


def test_it_goes_on_where_it_broke_off(world: World) -> None:
    path = f"{path_of(world)}?format=raw"
    tag = world.get(path).headers["etag"]
    rest = world.get(path, headers={"Range": "bytes=1000-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, WEB0[1000:])
    assert rest.headers["content-range"] == f"bytes 1000-{len(WEB0) - 1}/{len(WEB0)}"
    # Of another file, behind the end, or in another form: all of it, as if nothing had been said.
    for headers in (
        {"Range": "bytes=1000-", "If-Range": '"other"'},
        {"Range": f"bytes={len(WEB0)}-"},
        {"Range": "bytes=-5"},
        {"Range": "lines=1-"},
    ):
        assert world.get(path, headers=headers).content == WEB0, headers
    other = world.get(path_of(world), headers={"Range": "bytes=1000-", "If-Range": tag})
    assert other.status_code == 200


def test_who_may_not_have_it_gets_nothing(world: World) -> None:
    missing = world.get("/snapshots/nothing/download", "ulla").json()["detail"]
    theirs = world.get(path_of(world), "ulla")
    assert theirs.status_code == 404
    assert theirs.json()["detail"].replace(world.snapshots["web0"], "nothing") == missing
    assert world.get(path_of(world), "auditor").status_code == 403
    assert world.get(path_of(world), None).status_code == 401
    volume = world.site.catalog.volumes.get(name="web-vda").volume_id
    cron = token_for(world.site, "adam", f"snapshot.create:volume={volume}")
    assert world.get(path_of(world), cron).status_code == 403
    world.site.catalog.tenants.filter(name="acme").update(policy="kcps-v1")
    assert world.get(path_of(world), "adam").json()["code"] == "policy.restore_kind"
    assert world.get(f"{path_of(world)}?format=vmdk").status_code == 422


def test_what_is_damaged_is_cut_off(world: World) -> None:
    for pack in (Path(world.site.settings.vault) / "packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 4 : len(data) // 4 + 64] = bytes(64)
            pack.chmod(0o600)
            pack.write_bytes(data)
    with pytest.raises(DozoError, match="damaged"):
        world.get(f"{path_of(world)}?format=raw")


def test_only_so_many_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MOST_DOWNLOADS", 0)
    refused = world.get(path_of(world))
    assert (refused.status_code, refused.json()["code"]) == (429, "api.too_many_downloads")
    monkeypatch.setattr(downloads, "MOST_DOWNLOADS", 1)
    for _ in range(3):
        assert world.get(path_of(world)).status_code == 200
