"""Keys: who can open what, who is believed, and what shows without any key."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dozo.blobs import MemoryBlobs
from dozo.vault import Keyring, PublicKey, SnapshotDraft, Vault
from dozo.vault.errors import (
    GrantMissing,
    KeysFileInvalid,
    KeysMissing,
    KeysUntrusted,
    ObjectDamaged,
    PublicKeyInvalid,
)
from dozo.vault.format import ObjectKind, load_document, store_document
from dozo.vault.frames import HEADER, NONCE_BYTES, SALT_BYTES, FrameKind
from dozo.vault.keys import SiteKey, wrap
from dozo.vault.layout import SNAPSHOTS
from dozo.vault.packs import list_packs, read_directory

from .support import (
    CHUNK,
    Volume,
    check_all,
    contents,
    copy_of,
    errors_of,
    keep,
    new_vault,
    noise,
    restored,
)

MARK = b"MARKER-that-nobody-may-find"


def test_the_keys_file_is_for_its_owner_and_grows_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys"
    first = Vault.init(MemoryBlobs(), Keyring.load(path))
    assert path.stat().st_mode & 0o777 == 0o600
    before = json.loads(path.read_text())["sites"]
    second = Vault.init(MemoryBlobs(), Keyring.load(path))
    after = json.loads(path.read_text())["sites"]
    assert before.items() < after.items()
    assert set(after) == {first.vault_id, second.vault_id}
    ring = Keyring.load(path)
    with pytest.raises(KeysFileInvalid):
        ring.add_site(first.vault_id, SiteKey.generate())
    assert json.loads(path.read_text())["sites"] == after
    for vault in (first, second):
        public = Keyring.public_path(path, vault.vault_id)
        assert PublicKey.from_text(public.read_text()) == vault.public_key
        assert base64.b64decode(after[vault.vault_id]) not in public.read_bytes()
    assert sorted(each.name for each in path.parent.iterdir() if each.suffix == ".new") == []


def test_two_that_add_keys_at_once_keep_both(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    early, late = Keyring.load(path), Keyring.load(path)
    vaults = [Vault.init(MemoryBlobs(), ring) for ring in (early, late)]
    assert set(json.loads(path.read_text())["sites"]) == {vault.vault_id for vault in vaults}


FULL = """
import resource, signal, sys
from pathlib import Path
from dozo.blobs import MemoryBlobs
from dozo.model.errors import DozoError
from dozo.vault import Keyring, Vault
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
Vault.init(MemoryBlobs(), Keyring.load(path))
size = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))
try:
    Vault.init(MemoryBlobs(), Keyring.load(path))
except DozoError as error:
    print(error.code)
"""


def test_no_key_is_lost_when_the_disk_fills_up(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "vault.keys_file_unwritable\n"
    assert len(json.loads(path.read_text())["sites"]) == 1
    assert {each.name for each in tmp_path.iterdir()} >= {"keys"}
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize(
    "content",
    [
        *("", "not json", "[]", "{}", '{"version": 2, "sites": {}, "peers": {}}'),
        *('{"version": 1, "sites": {"a": "AAAA"}, "peers": {}}', '{"version": 1, "sites": 3}'),
    ],
)
def test_a_bad_keys_file_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(KeysFileInvalid):
        Keyring.load(path)
    assert path.read_text() == content
    with pytest.raises(KeysFileInvalid):
        Keyring.load(tmp_path)


def test_without_the_key_or_with_another(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    done = keep(vault, noise(4 * CHUNK, 1), name="secret")
    stranger = Keyring.load(tmp_path / "other")
    Vault.init(MemoryBlobs(), stranger)
    for ring in (None, Keyring.load(tmp_path / "none"), stranger):
        blind = Vault.open(vault.blobs, ring)
        for act in (
            lambda blind=blind: restored(blind, done.snapshot),
            lambda blind=blind: blind.attachments(done.snapshot),
            lambda blind=blind: blind.verify(done.snapshot),
            lambda blind=blind: blind.open_snapshot(done.snapshot),
            lambda blind=blind: keep(blind, noise(CHUNK, 2)),
            lambda blind=blind: blind.clone(done.snapshot, SnapshotDraft(name="x")),
            lambda blind=blind: blind.grant(vault.public_key),
        ):
            with pytest.raises(KeysMissing):
                act()
        assert [(info.snapshot, info.sealed) for info in blind.snapshots()] == [
            (done.snapshot, None)
        ]
        # What needs no key works without one.
        assert blind.scrub().is_clean
        assert blind.stats().snapshots == 1
        blind.delete([done.snapshot])
        blind.undelete([done.snapshot])
        assert blind.prune(grace_seconds=0).packs_removed == 0
    check_all(vault, {done.snapshot: noise(4 * CHUNK, 1)})


@pytest.fixture
def sites(tmp_path: Path) -> tuple[Vault, Vault]:
    """Two vaults with a keys file each, as on two hosts."""
    return new_vault(tmp_path, keys="keys"), new_vault(tmp_path, keys="keys2")


def test_copies_need_a_grant_and_then_no_key(sites: tuple[Vault, Vault], tmp_path: Path) -> None:
    main, peer = sites
    data = noise(6 * CHUNK, 1)
    first = keep(main, data).snapshot
    blind = [Vault.open(each.blobs) for each in sites]
    for source in (main, blind[0]):
        with pytest.raises(GrantMissing):
            source.copy_to(blind[1])
    assert peer.snapshots() == []
    assert peer.scrub().is_clean
    assert main.grant(PublicKey.from_text(peer.public_key.to_text())) == 1
    assert main.grant(peer.public_key) == 0, "a second time nothing is new"
    assert blind[0].copy_to(blind[1]).copied == (first,)
    check_all(peer, {first: data})
    # From now on every new tenant is wrapped for the peer as well.
    again = Vault.open(main.blobs, Keyring.load(tmp_path / "keys"))
    second = keep(again, noise(CHUNK, 2), tenant="later").snapshot
    assert blind[0].copy_to(blind[1]).copied == (second,)
    assert {info.sealed.tenant for info in peer.snapshots() if info.sealed} == {"default", "later"}


def test_copies_with_both_keys_at_hand_need_no_grant(tmp_path: Path) -> None:
    main, peer = new_vault(tmp_path), new_vault(tmp_path)
    done = keep(main, noise(CHUNK, 1))
    ring = Keyring.load(tmp_path / "keys")
    Vault.open(main.blobs, ring).copy_to(Vault.open(peer.blobs, ring))
    check_all(peer, {done.snapshot: noise(CHUNK, 1)})


def test_a_site_with_new_keys_is_rebuilt_from_its_peer(
    sites: tuple[Vault, Vault], tmp_path: Path
) -> None:
    main, peer = sites
    main.grant(peer.public_key)
    data = noise(6 * CHUNK, 1)
    done = keep(main, data).snapshot
    main.copy_to(peer)
    rebuilt = new_vault(tmp_path, keys="keys3")
    with pytest.raises(GrantMissing):
        peer.copy_to(Vault.open(rebuilt.blobs))
    peer.grant(rebuilt.public_key)
    peer.copy_to(rebuilt)
    check_all(rebuilt, {done: data})
    assert rebuilt.snapshot(done).sealed is not None


def test_keys_of_an_unknown_site_seal_nothing_new(sites: tuple[Vault, Vault]) -> None:
    main, peer = sites
    main.grant(peer.public_key)
    data = noise(2 * CHUNK, 1)
    first = keep(main, data).snapshot
    main.copy_to(peer)
    assert restored(peer, first) == data, "reading what came is no risk"
    with pytest.raises(KeysUntrusted):
        keep(peer, data)
    assert [info.snapshot for info in peer.snapshots()] == [first]
    peer.grant(main.public_key)
    done = keep(peer, data)
    assert done.bytes_new == 0, "the same tenant at both sites"


@pytest.mark.parametrize("turn", range(6))
def test_an_unknown_site_cannot_block_a_tenant_that_was_there_before(
    sites: tuple[Vault, Vault], turn: int
) -> None:
    """Which of two tenants of one name comes first is a matter of chance, hence the turns."""
    main, peer = sites
    main.grant(peer.public_key)
    mine = keep(peer, noise(CHUNK, 3)).snapshot
    keep(main, noise(CHUNK, turn), tenant="default")
    main.copy_to(peer)
    again = keep(Vault.open(peer.blobs, peer.tenants._keyring), noise(2 * CHUNK, 4))
    numbers = {info.snapshot: info.tenant_number for info in peer.snapshots()}
    assert numbers[again.snapshot] == numbers[mine]


def test_a_forged_or_swapped_wrapping_is_found(sites: tuple[Vault, Vault]) -> None:
    main, peer = sites
    keep(main, noise(CHUNK, 1), tenant="one")
    keep(main, noise(CHUNK, 1), tenant="two")
    keys = sorted(info.key for info in main.blobs.list("keys"))
    documents = [load_document(main.blobs, key, ObjectKind.WRAPPED_KEY) for key in keys]

    def opened_with(document: dict[str, object]) -> Vault:
        blobs = copy_of(main.blobs)
        store_document(blobs, keys[0], ObjectKind.WRAPPED_KEY, document)
        return Vault.open(blobs, main.tenants._keyring)

    names = {"one", "two"}
    for field in ("sealed", "ephemeral", "recipient", "signer", "tenant"):
        spoilt = {**documents[0], field: documents[1][field]}
        if spoilt == documents[0]:
            continue
        vault = opened_with(spoilt)
        refused = []
        for name in names:
            error = errors_of(
                lambda vault=vault, name=name: keep(vault, noise(CHUNK, 1), tenant=name)
            )
            refused.append(isinstance(error, (ObjectDamaged, KeysUntrusted)))
        assert any(refused), field
    # Another site's valid signature, but nobody here vouches for that site.
    own = main.tenants.get(int(str(documents[0]["tenant"]), 16))
    forged = Vault.open(copy_of(main.blobs), main.tenants._keyring)
    forged.blobs.delete(keys[0])
    forged_by = peer.tenants.site_key
    document = wrap(own, main.public_key, forged_by)
    with pytest.raises(KeysUntrusted):
        keep(opened_with(document), noise(CHUNK, 1), tenant=own.name)


@pytest.mark.parametrize(
    "text", ["", "dozo-site-1:", "dozo-site-1:AAAA", "ssh-ed25519 AAAA", "\x00"]
)
def test_what_is_no_public_key(text: str) -> None:
    with pytest.raises(PublicKeyInvalid):
        PublicKey.from_text(text)


CLEAR = ["root", "depth", "chunks", "bytes_volume", "created_at", "kind", "origin", "parent"]


@pytest.mark.parametrize("field", [*CLEAR, "group", "attachments", "chunk_bytes"])
def test_a_changed_clear_field_is_found_by_whoever_has_the_key(tmp_path: Path, field: str) -> None:
    """The checksum proves nothing: whoever can write to the vault can make it right again."""
    vault = new_vault(tmp_path)
    draft = SnapshotDraft(name="v", attachments={"a": b"x"}, group="ab" * 16)
    first = keep(vault, noise(4 * CHUNK, 1), draft=draft).snapshot
    second = keep(vault, noise(3 * CHUNK, 2)).snapshot
    objects = {info.key.split("/")[1]: info.key for info in vault.blobs.list(SNAPSHOTS)}
    document = load_document(vault.blobs, objects[first], ObjectKind.SNAPSHOT)
    other = load_document(vault.blobs, objects[second], ObjectKind.SNAPSHOT)["clear"]
    changes = {
        "depth": 2, "chunks": 5, "kind": "template", "origin": "elsewhere", "parent": second,
        "chunk_bytes": 2 * CHUNK,
    }  # fmt: skip
    document["clear"][field] = changes.get(field, other[field])
    store_document(vault.blobs, objects[first], ObjectKind.SNAPSHOT, document)
    seen = Vault.open(vault.blobs, vault.tenants._keyring)
    for act in (
        lambda: restored(seen, first),
        lambda: seen.restore_in_place(first, Volume(bytes(8 * CHUNK))),
        lambda: seen.open_snapshot(first),
        lambda: seen.attachments(first),
        lambda: seen.verify(first),
        lambda: seen.clone(first, SnapshotDraft(name="x")),
        lambda: keep(seen, noise(4 * CHUNK, 1), parent=first, changed=[]),
    ):
        with pytest.raises(ObjectDamaged):
            act()
    assert [info.sealed for info in seen.snapshots() if info.snapshot == first] == [None]
    assert restored(seen, second) == noise(3 * CHUNK, 2)


def test_a_snapshot_under_another_ones_name_is_found(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    first, second = (keep(vault, noise(CHUNK, each)).snapshot for each in (1, 2))
    objects = {info.key.split("/")[1]: info.key for info in vault.blobs.list(SNAPSHOTS)}
    vault.blobs.put(objects[first], [vault.blobs.get(objects[second])])
    assert not vault.scrub().is_clean
    document = load_document(
        _renamed(vault.blobs, objects[second], objects[first]), objects[second], ObjectKind.SNAPSHOT
    )
    store_document(vault.blobs, objects[first], ObjectKind.SNAPSHOT, document)
    with pytest.raises(ObjectDamaged):
        restored(vault, first)


def _renamed(blobs: object, key: str, _other: str) -> MemoryBlobs:
    place = MemoryBlobs()
    place.put(key, [blobs.get(key)])  # type: ignore[attr-defined]
    return place


def test_nothing_plain_is_in_the_vault(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    vault = new_vault(tmp_path, blobs)
    for turn in range(2):
        data = (MARK * 400)[: 2 * CHUNK] + MARK.ljust(CHUNK, b"\x00") + noise(CHUNK, turn)
        draft = SnapshotDraft(
            name=MARK.decode(),
            tenant=MARK.decode(),
            facts={MARK.decode(): MARK.decode()},
            attachments={MARK.decode(): MARK},
        )
        done = keep(vault, data, draft=draft)
    vault.clone(done.snapshot, draft)
    vault.verify(done.snapshot)
    vault.scrub()
    vault.delete([done.snapshot])
    everything = contents(blobs)
    assert len(everything) > 10
    for key, content in everything.items():
        for form in (MARK, MARK.hex().encode(), base64.b64encode(MARK)[:-4]):
            assert form not in content, key
            assert form.decode().lower() not in key.lower()
    secrets = json.loads((tmp_path / "keys").read_text())["sites"][vault.vault_id]
    raw = base64.b64decode(secrets)
    tenant = vault.tenants.named(MARK.decode())
    for secret in (raw[:32], raw[32:], tenant.id_key, *tenant.data_keys.values()):
        for content in everything.values():
            assert secret not in content
            assert secret.hex().encode() not in content


def test_salts_and_nonces_are_never_shared(tmp_path: Path) -> None:
    """The same chunk, stored by writers that do not know of each other, many times."""
    seen: dict[bytes, set[bytes]] = {}
    data = noise(4 * CHUNK, 1)
    empty = new_vault(tmp_path)
    keep(empty, data)
    ring = empty.tenants._keyring
    frames = 0
    start = MemoryBlobs()
    for key, content in contents(empty.blobs).items():
        if key.split("/")[0] in ("header", "header.copy", "keys"):
            start.put(key, [content])
    for _turn in range(20):
        blobs = copy_of(start)
        keep(Vault.open(blobs, ring), data)
        for pack_id, size in list_packs(blobs):
            pack = read_directory(blobs, pack_id, size)
            for entry in pack.entries:
                if entry.kind == FrameKind.TREE:
                    continue
                frames += 1
                frame = blobs.get_range(
                    f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}",
                    entry.offset_bytes,
                    entry.length_bytes,
                )
                random = frame[HEADER.size : HEADER.size + SALT_BYTES + NONCE_BYTES]
                for part in (random[:SALT_BYTES], random[SALT_BYTES:]):
                    assert part not in seen.setdefault(entry.object_id, set())
                    seen[entry.object_id].add(part)
    assert frames == 80
    assert len(set().union(*seen.values())) == 160
