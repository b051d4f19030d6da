"""A service that runs for months sees what was changed under it."""

import logging

import pytest

from dozo.services.site import Site

from .support import World


def edit(site: Site, old: str, new: str) -> None:
    path = site.settings.home / "dozo.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_changed_setting_counts_from_the_next_request_on(world: World) -> None:
    edit(world.site, "parallel = 4", "parallel = 7")
    edit(world.site, "# public_url", "public_url")
    shown = world.get("/settings").json()
    assert (shown["parallel_jobs"], shown["public_url"]) == (7, "https://backup.example.org")
    assert world.site.limits.work == 7


def test_a_file_with_a_mistake_changes_nothing_and_is_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    edit(world.site, "parallel = 4", "parallel = many")
    with caplog.at_level(logging.WARNING, "dozo.services.site"):
        for _ in range(3):
            assert world.get("/settings").json()["parallel_jobs"] == 4
    assert len(caplog.records) == 1
    edit(world.site, "parallel = many", "parallel = 5")
    assert world.get("/settings").json()["parallel_jobs"] == 5


def test_a_peer_that_another_process_added_is_there(world: World) -> None:
    with Site.open(world.site.settings.home) as other:
        body = {
            "name": "dr",
            "vault": "/mnt/dr/vault",
            "public_key": other.vault.public_key.to_text(),
        }
        path = other.settings.home / "dozo.toml"
        block = "\n".join(f'{key} = "{value}"' for key, value in body.items())
        path.write_text(f"{path.read_text()}\n[[peers]]\n{block}\n")
    assert [one["site"] for one in world.get("/sites").json()] == ["main", "dr"]


def test_another_name_waits_for_a_restart(world: World) -> None:
    edit(world.site, 'name = "main"', 'name = "other"')
    edit(world.site, "parallel = 4", "parallel = 7")
    shown = world.get("/settings").json()
    assert (shown["name"], shown["parallel_jobs"]) == ("main", 7)


def test_a_broken_connection_to_libvirt_is_made_anew(world: World) -> None:
    site = world.site
    edit(site, site.settings.libvirt, "test:///default")
    world.get("/settings")
    before = site.host
    assert before.server_names() == ("test",)
    before.close()
    assert site.host is not before
    assert site.host.server_names() == ("test",)
