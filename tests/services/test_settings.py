"""dozo.toml: written with comments, read with checks, peers added without harm to the rest."""

from pathlib import Path

import pytest

from dozo.services import settings
from dozo.services.settings import HomeExists, HomeMissing, Hook, Peer, PeerExists, SettingsInvalid

DR = Peer(name="dr", vault="/mnt/dr", public_key="dozo-site-1:abc")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    settings.write_new(
        tmp_path,
        name="main",
        vault="/srv/vault",
        keys=tmp_path / "keys",
        pool=Path("/pool"),
        scratch=Path("/pool/.scratch"),
        libvirt="qemu:///system",
    )
    return tmp_path


def test_what_is_written_is_read(home: Path) -> None:
    found = settings.load(home)
    assert (found.name, found.vault, found.pool) == ("main", "/srv/vault", Path("/pool"))
    assert found.keys == home / "keys"
    assert found.reread_days == 30
    assert found.peers == ()


def test_quiet_hours_and_what_does_not_wait_for_their_end(home: Path) -> None:
    path = home / "dozo.toml"
    text = path.read_text()
    path.write_text(
        text.replace("# quiet =", "quiet =")
        .replace("# quiet_zone", "quiet_zone")
        .replace('# urgent = ["copies-damaged", ', 'urgent = ["job-stuck", ')
    )
    found = settings.load(home)
    assert str(found.notify_quiet) == "22:00-07:00 Asia/Tokyo"
    assert found.notify_urgent == ("job-stuck", "retention-stopped")
    for old, new in (
        ("# quiet =", 'quiet = "nights" #'),
        ("# quiet_zone =", 'quiet = "22:00-07:00"\nquiet_zone = "Mars" #'),
        ("# urgent =", 'urgent = ["everything"] #'),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(SettingsInvalid, match="notify"):
            settings.load(home)


def test_the_id_of_a_site_follows_from_its_name() -> None:
    assert settings.site_id("main") == settings.site_id("main")
    assert settings.site_id("main") != settings.site_id("dr")


def test_quotes_and_backslashes_in_values_survive(tmp_path: Path) -> None:
    odd = Path('/po"ol\\with\x7fall 日本')
    settings.write_new(
        tmp_path, name="m", vault="v", keys=Path("k"), pool=odd, scratch=odd, libvirt="x"
    )
    assert settings.load(tmp_path).pool == odd


def test_a_home_without_a_file_is_not_a_site(tmp_path: Path) -> None:
    with pytest.raises(HomeMissing, match="no site in"):
        settings.load(tmp_path)


def test_a_second_site_in_a_home_is_refused(home: Path) -> None:
    with pytest.raises(HomeExists, match="already holds the site 'main'"):
        settings.write_new(
            home, name="b", vault="v", keys=home, pool=home, scratch=home, libvirt="x"
        )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("[site]", "[sight]"), "sight"),
        (("tenant =", "tennant ="), "tennant is not a setting"),
        (("reread_days = 30", "reread_days = 0"), "between 1 and 3650"),
        (("reread_days = 30", 'reread_days = "x"'), "must be a number"),
        (('name = "main"', 'name = ""'), "must be a text"),
        (("[site]", "[site"), "line"),
        (("# scratch_bytes = 10737418240", "scratch_bytes = 1.5"), "whole number"),
    ],
)
def test_mistakes_are_named(home: Path, change: tuple[str, str], problem: str) -> None:
    path = home / settings.FILE_NAME
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(SettingsInvalid, match=problem):
        settings.load(home)


HOOK = '[[hooks]]\nname = "flush"\ncommand = ["/sbin/flush", "--now"]\n'


def test_hooks_are_names_for_whole_commands(home: Path) -> None:
    path = home / settings.FILE_NAME
    windows = "[[hooks]]\nname = 'vss'\ncommand = ['C:\\hooks\\vss.exe']\n"
    path.write_text(path.read_text() + HOOK + windows)
    assert settings.load(home).hooks == (
        Hook(name="flush", command=("/sbin/flush", "--now")),
        Hook(name="vss", command=("C:\\hooks\\vss.exe",)),
    )
    assert settings.add_peer(home, DR).hooks == settings.load(home).hooks


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("[[hooks]]", "[hooks]"), r"\[\[hooks\]\] tables"),
        (('"flush"', '"fl ush"'), "hook's name"),
        (('"/sbin/flush"', '"flush"'), "absolute path"),
        (('"--now"', "1"), "are texts"),
        (('["/sbin/flush", "--now"]', '"/sbin/flush --now"'), "a list of texts"),
        (('["/sbin/flush", "--now"]', "[]"), "a list of texts"),
        (("command =", "comand ="), "nothing else"),
        ((HOOK, HOOK + HOOK), "same name"),
    ],
)
def test_mistakes_in_hooks_are_named(home: Path, change: tuple[str, str], problem: str) -> None:
    path = home / settings.FILE_NAME
    path.write_text(path.read_text() + HOOK.replace(*change))
    with pytest.raises(SettingsInvalid, match=problem):
        settings.load(home)


def test_a_peer_is_added_once_and_comments_stay(home: Path) -> None:
    before = (home / settings.FILE_NAME).read_text()
    settings.add_peer(home, DR)
    found = settings.add_peer(home, DR)
    assert found.peers == (DR,)
    assert (home / settings.FILE_NAME).read_text().startswith(before.rstrip("\n"))


def test_another_peer_of_the_same_name_replaces_only_when_told(home: Path) -> None:
    settings.add_peer(home, DR)
    third = Peer(name="third", vault="/t", public_key="k3")
    settings.add_peer(home, third)
    back = Peer(name="dr", vault="/mnt/new", public_key="k2")
    with pytest.raises(PeerExists, match="dr"):
        settings.add_peer(home, back)
    assert settings.add_peer(home, back, replace=True).peers == (third, back)


def test_a_site_is_not_its_own_peer(home: Path) -> None:
    with pytest.raises(PeerExists):
        settings.add_peer(home, Peer(name="main", vault="/x", public_key="k"))
