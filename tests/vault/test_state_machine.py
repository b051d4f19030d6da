"""Everything that can be done to two vaults, in any order, against a dict."""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dozo.blobs import MemoryBlobs
from dozo.blobs.faulty import Fault, FaultPlan, FaultyBlobs
from dozo.model.errors import DozoError
from dozo.vault import SnapshotDraft, Vault, packs
from dozo.vault.deletion import HERE
from dozo.vault.errors import UndeleteTooLate

from .support import CHUNK, check_all, extents, keep, kill_writers, new_vault, noise

# Small enough for several packs in a handful of chunks; the real size is no part of it.
packs_of = 5 * CHUNK
LONG = int(os.environ.get("DOZO_SWEEP", "1"))

pieces = st.lists(st.integers(0, 12), min_size=1, max_size=14)


def volume(numbers: list[int]) -> bytes:
    """Chunks drawn from a few, so that volumes share some; 0 is a chunk of zeros."""
    return b"".join(bytes(CHUNK) if n == 0 else noise(CHUNK, n) for n in numbers)


class Site:
    """A vault, what it must show, and what was deleted there but not yet pruned."""

    def __init__(self, folder: Path, keys: str) -> None:
        self.vault = new_vault(folder, keys=keys)
        self.visible: dict[str, bytes] = {}
        self.deleted: dict[str, bytes] = {}
        self.purged: set[str] = set()
        # Deleted because main did; what main takes back the next copy takes back here.
        self.followed: set[str] = set()

    @property
    def blobs(self) -> MemoryBlobs:
        assert isinstance(self.vault.blobs, MemoryBlobs)
        return self.vault.blobs

    def again(self) -> Vault:
        return Vault.open(self.blobs, self.vault.tenants._keyring)


class TwoSites(RuleBasedStateMachine):
    """Main and its peer; each operation also dies now and then at a storage call."""

    def __init__(self) -> None:
        super().__init__()
        self._size = packs.TARGET_BYTES
        packs.TARGET_BYTES = packs_of
        self._folder = tempfile.TemporaryDirectory()

    @initialize()
    def make(self) -> None:
        folder = Path(self._folder.name)
        self.sites = [Site(folder, "keys"), Site(folder, "keys2")]
        for one, other in (self.sites, self.sites[::-1]):
            one.vault.grant(other.vault.public_key)

    def pick(self, data: st.DataObject, names: dict[str, bytes]) -> str:
        return data.draw(st.sampled_from(sorted(names)))

    @rule(numbers=pieces)
    def backup(self, numbers: list[int]) -> None:
        main = self.sites[0]
        main.visible[keep(main.vault, volume(numbers)).snapshot] = volume(numbers)

    @precondition(lambda self: self.sites[0].visible)
    @rule(data=st.data(), numbers=pieces)
    def incremental(self, data: st.DataObject, numbers: list[int]) -> None:
        main = self.sites[0]
        parent = self.pick(data, main.visible)
        before, after = main.visible[parent], volume(numbers)
        changed = [
            (at, CHUNK)
            for at in range(0, len(after), CHUNK)
            if before[at : at + CHUNK] != after[at : at + CHUNK] and at < len(before)
        ]
        done = keep(main.vault, after, parent=parent, changed=extents(changed))
        main.visible[done.snapshot] = after

    @precondition(lambda self: self.sites[0].visible)
    @rule(data=st.data())
    def clone(self, data: st.DataObject) -> None:
        main = self.sites[0]
        origin = self.pick(data, main.visible)
        name = main.vault.clone(origin, SnapshotDraft(name="t", kind="template"))
        main.visible[name] = main.visible[origin]

    @precondition(lambda self: any(site.visible for site in self.sites))
    @rule(data=st.data(), number=st.integers(0, 1))
    def delete(self, data: st.DataObject, number: int) -> None:
        site = self.sites[number]
        if site.visible:
            name = self.pick(data, site.visible)
            # A deletion at the peer is its own affair here; main's travel with the next copy.
            assert site.vault.delete([name], scope=HERE if number else "everywhere") == [name]
            site.deleted[name] = site.visible.pop(name)

    @precondition(lambda self: self.sites[0].deleted)
    @rule(data=st.data())
    def undelete(self, data: st.DataObject) -> None:
        main = self.sites[0]
        name = self.pick(data, main.deleted)
        try:
            assert main.vault.undelete([name]) == [name]
        except UndeleteTooLate:
            raise AssertionError("it was not pruned yet") from None
        main.visible[name] = main.deleted.pop(name)

    @rule(number=st.integers(0, 1))
    def prune(self, number: int) -> None:
        site = self.sites[number]
        report = site.vault.prune(grace_seconds=0)
        assert report.snapshots_purged == len(site.deleted)
        site.purged |= set(site.deleted)
        site.deleted.clear()
        assert not list(site.blobs.list("deleting"))

    @rule()
    def copy(self) -> None:
        main, peer = self.sites
        main.vault.copy_to(peer.vault)
        for name in main.visible.keys() & peer.deleted.keys() & peer.followed:
            del peer.deleted[name]
            peer.followed.remove(name)
        gone = peer.deleted.keys() | peer.purged
        for name, data in main.visible.items():
            if name not in gone:
                peer.visible[name] = data
        for name in main.deleted.keys() | main.purged:
            if name in peer.visible:
                peer.deleted[name] = peer.visible.pop(name)
                peer.followed.add(name)

    @rule(number=st.integers(0, 1))
    def reopen_and_scrub(self, number: int) -> None:
        site = self.sites[number]
        site.vault = site.again()
        assert site.vault.scrub().is_clean
        assert site.vault.rebuild_index() == 0 or not list(site.blobs.list("pending"))

    @rule(
        number=st.integers(0, 1),
        at=st.integers(1, 70),
        fault=st.sampled_from([Fault.BEFORE, Fault.LOST]),
        dies=st.booleans(),
        numbers=pieces,
        what=st.sampled_from(["backup", "prune", "copy", "scrub"]),
    )
    def break_off(
        self, number: int, at: int, fault: Fault, dies: bool, numbers: list[int], what: str
    ) -> None:
        """A storage call fails, and perhaps all after it; nothing that counts may change."""
        main, peer = self.sites
        site = peer if what == "copy" else self.sites[number]
        faulty = FaultyBlobs(site.blobs, FaultPlan(at_call=at, fault=fault, dies=dies))
        try:
            vault = Vault.open(faulty, site.vault.tenants._keyring)
            if what == "backup":
                keep(vault, volume(numbers))
            elif what == "prune":
                vault.prune(grace_seconds=10**9)
            elif what == "scrub":
                vault.scrub()
            else:
                main.vault.copy_to(vault)
        except DozoError:
            pass
        kill_writers(site.blobs)
        # What had been published, or deleted, by then counts.
        shown = {info.snapshot for info in site.again().snapshots()}
        for name in shown - site.visible.keys():
            site.visible[name] = main.visible.get(name, volume(numbers))
            site.deleted.pop(name, None)
            site.followed.discard(name)
        for name in set(site.visible) - shown:
            assert what == "copy"
            assert name in main.deleted.keys() | main.purged
            site.deleted[name] = site.visible.pop(name)
            site.followed.add(name)

    @invariant()
    def what_is_visible_restores(self) -> None:
        for site in getattr(self, "sites", ()):
            check_all(site.again(), site.visible)

    def teardown(self) -> None:
        for site in getattr(self, "sites", ()):
            kill_writers(site.blobs)
            for name in sorted(site.visible)[::2]:
                site.vault.delete([name])
                del site.visible[name]
            site.vault.prune(grace_seconds=0)
            check_all(site.again(), site.visible)
            report = site.vault.prune(grace_seconds=0)
            assert (report.packs_removed, report.packs_rewritten) == (0, 0)
        packs.TARGET_BYTES = self._size
        self._folder.cleanup()


def test_the_model_follows_a_deletion_that_main_takes_back() -> None:
    machine = TwoSites()
    machine.make()
    machine.backup([1, 2])
    main, peer = machine.sites
    machine.copy()
    (name,) = main.visible
    main.vault.delete([name])
    main.deleted[name] = main.visible.pop(name)
    machine.copy()
    machine.what_is_visible_restores()
    main.vault.undelete([name])
    main.visible[name] = main.deleted.pop(name)
    machine.copy()
    assert set(peer.visible) == {name}
    machine.what_is_visible_restores()
    machine.teardown()


TestTwoSites = TwoSites.TestCase
TestTwoSites.settings = settings(
    max_examples=20 * LONG,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
