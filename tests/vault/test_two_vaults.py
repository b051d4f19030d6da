"""What travels between two vaults, and what a verification may claim."""

from datetime import timedelta
from pathlib import Path

import pytest

from dozo.blobs import MemoryBlobs
from dozo.model import clock
from dozo.vault import Vault
from dozo.vault.deletion import deletion_of
from dozo.vault.errors import ChunkDamaged, SnapshotHeld

from .support import keep, keyring, new_vault, noise, restored

DATA = noise(40_960, 1)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Vault, Vault]:
    main, other = new_vault(tmp_path), new_vault(tmp_path, keys="other-keys")
    main.grant(other.public_key)
    other.grant(main.public_key)
    return main, other


def flip(vault: Vault, folder: str) -> str:
    """Turn one bit in the middle of an object."""
    key = next(iter(sorted(info.key for info in vault.blobs.list(folder))))
    data = bytearray(vault.blobs.get(key))
    data[len(data) // 2] ^= 1
    vault.blobs.put(key, [bytes(data)])
    return key


def test_what_was_taken_back_here_is_taken_back_there_and_never_comes_back(
    pair: tuple[Vault, Vault],
) -> None:
    main, other = pair
    snapshot = keep(main, DATA).snapshot
    main.copy_to(other)
    main.delete([snapshot])
    main.copy_to(other)
    assert other.snapshots() == []
    main.undelete([snapshot])
    other.copy_to(main)
    assert [info.snapshot for info in main.snapshots()] == [snapshot]
    main.copy_to(other)
    assert restored(other, snapshot) == DATA
    other.copy_to(main)
    assert restored(main, snapshot) == DATA


def test_a_second_deletion_travels_after_the_first_was_taken_back(
    pair: tuple[Vault, Vault],
) -> None:
    main, other = pair
    snapshot = keep(main, DATA).snapshot
    main.copy_to(other)
    main.delete([snapshot])
    main.undelete([snapshot])
    main.copy_to(other)
    main.delete([snapshot])
    main.copy_to(other)
    assert other.snapshots() == []


def test_repair_never_takes_over_how_a_deletion_ended_elsewhere(
    pair: tuple[Vault, Vault],
) -> None:
    main, other = pair
    snapshot = keep(main, DATA).snapshot
    main.copy_to(other)
    main.delete([snapshot])
    main.copy_to(other)
    main.undelete([snapshot])
    other.prune(grace_seconds=0)
    flip(main, "resolutions")
    assert main.scrub(repair_from=other).is_clean
    main.prune(grace_seconds=0)
    assert restored(main, snapshot) == DATA


def test_a_verification_opens_what_another_attempt_left(pair: tuple[Vault, Vault]) -> None:
    main, other = pair
    snapshot = keep(main, DATA).snapshot

    def crash(point: str) -> None:
        if point == "complete":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        main.copy_to(other, crash=crash)
    assert main.copy_to(other).bytes_copied == 0
    assert other.verify(snapshot).frames == len(DATA) // 4096
    flip(other, "packs")
    # Read before, and so within the scrub period: the next one need not read it again.
    assert other.verify(snapshot).frames == 0


def test_damage_replaces_an_earlier_good_result(pair: tuple[Vault, Vault]) -> None:
    main, other = pair
    snapshot = keep(main, DATA).snapshot
    main.copy_to(other)
    main.verify(snapshot)
    flip(main, "packs")
    with pytest.raises(ChunkDamaged):
        main.verify(snapshot)
    found = main.check(snapshot)
    assert found is not None
    assert found.damaged == 1
    assert main.scrub().snapshots_touched == {snapshot: 1}
    assert main.scrub(repair_from=other).is_clean
    assert main.check(snapshot) is None
    assert main.verify(snapshot).damaged == 0


def test_a_scrub_takes_back_what_a_verification_had_said(pair: tuple[Vault, Vault]) -> None:
    main, _other = pair
    snapshot = keep(main, DATA).snapshot
    main.verify(snapshot)
    flip(main, "packs")
    main.scrub()
    found = main.check(snapshot)
    assert found is not None
    assert found.damaged


def test_another_sites_tenant_of_the_same_name_changes_nothing_here(tmp_path: Path) -> None:
    for turn in range(6):
        folder = tmp_path / str(turn)
        main, other = new_vault(folder), new_vault(folder, keys="other-keys")
        main.grant(other.public_key)
        other.grant(main.public_key)
        first = keep(other, DATA).snapshot
        keep(main, DATA)
        main.copy_to(other)
        assert keep(other, DATA, parent=first, changed=[]).full_reason is None


def test_a_replaced_peer_is_given_no_new_keys(pair: tuple[Vault, Vault], tmp_path: Path) -> None:
    main, other = pair
    main.revoke(other.public_key)
    keep(main, DATA, tenant="later")
    wrapped = [info.key for info in main.blobs.list("keys")]
    assert not [key for key in wrapped if key.endswith(other.public_key.fingerprint)]


def test_several_are_deleted_all_or_none(pair: tuple[Vault, Vault]) -> None:
    main, _other = pair
    first, second = keep(main, DATA).snapshot, keep(main, noise(8192, 2)).snapshot
    main.hold(second, clock.now() + timedelta(days=1))
    with pytest.raises(SnapshotHeld):
        main.delete([first, second])
    assert deletion_of(main.blobs, first) is None


def test_a_vaults_key_is_kept_before_the_vault_is_made(tmp_path: Path) -> None:
    class Full(MemoryBlobs):
        def create(self, key: str, parts: object) -> bool:
            raise KeyboardInterrupt

    ring = keyring(tmp_path)
    blobs = Full()
    with pytest.raises(KeyboardInterrupt):
        Vault.init(blobs, ring)
    assert list(blobs.list("")) == []
    assert "sites" in (tmp_path / "keys").read_text()
