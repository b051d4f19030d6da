"""One site, opened: its settings, catalog, vault and hypervisor, each loaded when first needed."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from django.db import Error as DatabaseProblem

from dozo.catalog.errors import CatalogOfOther
from dozo.catalog.settings import CATALOG_NAME
from dozo.catalog.store import Catalog
from dozo.model.errors import DozoError, ErrorKind
from dozo.services import settings as site_settings
from dozo.services.admission import Limits
from dozo.services.settings import Peer, Settings

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.hypervisor import Hypervisor
    from dozo.vault import PublicKey, Vault

log = logging.getLogger(__name__)


@dataclass(eq=False)
class SiteNameInvalid(DozoError):
    """A site cannot be called that."""

    code = "site.name_invalid"
    kind = ErrorKind.USAGE
    text = "{self.name!r} cannot be the name of a site"
    hint = "Use letters, digits, dots, dashes and underscores."
    name: str


@dataclass(eq=False)
class PeerVaultIsOwn(DozoError):
    """A peer's address leads to this site's own vault."""

    code = "site.peer_vault_is_own"
    kind = ErrorKind.REFUSED
    text = "{self.url} is this site's own vault, not that of {self.peer}"
    hint = "Check the address of the peer in dozo.toml."
    peer: str
    url: str


class Site:
    """A site's parts. Use as a context manager, or call :meth:`close`."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.settings = settings
        self.catalog = catalog
        self._vault: Vault | None = None
        self._host: Hypervisor | None = None
        # Several threads may ask for what nobody has opened yet. A libvirt that hangs keeps
        # nobody from the vault.
        self._opening = threading.Lock()
        self._connecting = threading.Lock()
        self._seen = self._look()

    @classmethod
    def open(cls, home: Path) -> Self:
        """The site in ``home``. Raises ``HomeMissing``, ``SettingsInvalid``, ``CatalogUnusable``,
        ``CatalogOfOther``.

        Neither the vault nor libvirt is touched before it is needed.
        """
        # Looked at before it is read: what changes in between is seen as changed.
        file = site_settings.seen(home / site_settings.FILE_NAME)
        settings = site_settings.load(home)
        catalog = Catalog.open(settings.home / CATALOG_NAME, database=settings.database)
        try:
            site = cls(settings, catalog)
            site._seen = file + site_settings.seen(settings.keys)
            site.note_sites()
        except DatabaseProblem as error:
            catalog.close()
            raise catalog.unusable(error) from error
        except BaseException:
            catalog.close()
            raise
        return site

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        if self._host is not None:
            self._host.close()
            self._host = None
        self.catalog.close()

    @property
    def vault(self) -> "Vault":
        """This site's vault, opened with this site's keys."""
        with self._opening:
            if self._vault is None:
                self._vault = self._open_vault(self.settings.vault)
            return self._vault

    @property
    def host(self) -> "Hypervisor":
        """The hypervisor; ``LibvirtUnavailable`` where it does not answer.

        A connection that broke is made anew: a site may stay open for months.
        """
        from dozo.hypervisor import connect  # noqa: PLC0415  loads libvirt

        with self._connecting:
            if self._host is None or not self._host.is_alive():
                self._host = connect(self.settings.libvirt)
            return self._host

    @property
    def is_outdated(self) -> bool:
        """Whether ``dozo.toml`` or the keys file has changed since the site was opened."""
        return self._look() != self._seen

    def _look(self) -> tuple[object, ...]:
        settings = self.settings
        return site_settings.seen(settings.home / site_settings.FILE_NAME, settings.keys)

    def keep_up(self) -> None:
        """Take up what was changed in ``dozo.toml`` and the keys file meanwhile.

        A file that cannot be used changes nothing and is logged once. The name and the database of
        a site that is open stay what they are.
        """
        if not self.is_outdated:
            return
        with self._opening:
            seen = self._look()
            if seen == self._seen:
                return
            self._seen = seen
            try:
                found = site_settings.load(self.settings.home)
            except (DozoError, OSError) as error:
                log.warning("the settings stay as they were: %s", error)
                return
            was = self.settings
            kept = with_changes(found, name=was.name, database=was.database)
            if kept != found:
                log.warning("another name or database needs a restart")
            if kept.libvirt != was.libvirt:
                # Not closed: another thread may be using it, and the last one lets it go.
                self._host = None
            self.settings, self._vault = kept, None
            if kept.keys != was.keys:
                self._seen = seen[:1] + site_settings.seen(kept.keys)
        self.note_sites()
        log.info("the settings were read again")

    @property
    def limits(self) -> Limits:
        """How many jobs may run at the same time."""
        return Limits(
            work=self.settings.parallel_jobs,
            tenant=self.settings.parallel_jobs_tenant,
            upkeep=self.settings.parallel_jobs_upkeep,
        )

    def peer_vault(self, peer: Peer) -> "Vault":
        """A peer's vault, opened with whatever of this site's keys fits.

        Refused where the address leads to this site's own vault.
        """
        vault = self._open_vault(peer.vault)
        if vault.vault_id == self.vault.vault_id:
            raise PeerVaultIsOwn(peer.name, peer.vault)
        return vault

    def _open_vault(self, url: str) -> "Vault":
        from dozo.blobs import open_blobs  # noqa: PLC0415  loads the ciphers
        from dozo.vault import Keyring, Vault  # noqa: PLC0415

        return Vault.open(open_blobs(url), Keyring.load(self.settings.keys))

    def note_sites(self) -> None:
        """Bring the catalog's rows for this site, its peers and its own tenant up to date."""
        rows = self.catalog.sites
        known = {row.site_id: row for row in rows.all()}
        own = known.get(self.settings.site_id)
        if self.catalog.on_server and (own is None or not own.is_self):
            self._claim()
        self.tenant_row()
        wanted = {self.settings.site_id: (self.settings.name, True, self.settings.vault)}
        wanted |= {one.site_id: (one.name, False, one.vault) for one in self.settings.peers}
        for site_id, (name, is_self, vault_url) in wanted.items():
            row = known.get(site_id)
            if row is None or (row.name, row.is_self, row.vault_url) != (name, is_self, vault_url):
                rows.update_or_create(
                    site_id=site_id,
                    defaults={"name": name, "is_self": is_self, "vault_url": vault_url},
                )

    def _claim(self) -> None:
        """Make a database this site's own; :class:`CatalogOfOther` if it is another's."""
        with self.catalog.turn("claim"):
            other = self.catalog.sites.filter(is_self=True).exclude(site_id=self.settings.site_id)
            found = other.first()
            if found is not None:
                raise CatalogOfOther(self.catalog.shown, found.name)
            self.catalog.sites.update_or_create(
                site_id=self.settings.site_id,
                defaults={"name": self.settings.name, "is_self": True},
            )

    def site_row(self, site_id: str) -> "models.Site":
        """The catalog's row of a site, made if only snapshots know it."""
        row, _ = self.catalog.sites.get_or_create(
            site_id=site_id, defaults={"name": f"site {site_id[:8]}"}
        )
        return row

    @property
    def own_row(self) -> "models.Site":
        """The catalog's row of this site."""
        return self.site_row(self.settings.site_id)

    def tenant_row(self, name: str | None = None) -> "models.Tenant":
        """The catalog's row of a tenant; the site's default one without a name."""
        row, _ = self.catalog.tenants.get_or_create(name=name or self.settings.tenant)
        return row


@dataclass(frozen=True, kw_only=True)
class SiteMade:
    """What ``init`` made."""

    site: str
    site_id: str
    home: Path
    vault: str
    vault_id: str
    vault_adopted: bool
    keys: Path
    public_key: str
    public_key_file: Path
    pool: Path


@dataclass(frozen=True, kw_only=True)
class InitPlan:
    """A site to be made; paths are absolute."""

    home: Path
    name: str
    vault: str
    keys: Path
    pool: Path
    scratch: Path
    libvirt: str
    database: str = field(default="", repr=False)


def plan_init(
    *,
    home: Path,
    name: str,
    vault: str,
    pool: Path,
    keys: Path | None = None,
    scratch: Path | None = None,
    libvirt: str = "qemu:///system",
    database: str = "",
) -> InitPlan:
    """Check what can be checked before anything is made.

    Raises ``HomeExists``, :class:`SiteNameInvalid`, ``SettingsInvalid`` for ``database``.
    """
    if database:
        database = site_settings.database_address(home / site_settings.FILE_NAME, database)
    if not name or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise SiteNameInvalid(name)
    home = home.absolute()
    with contextlib.suppress(site_settings.HomeMissing):
        raise site_settings.HomeExists(str(home), site_settings.load(home).name)
    return InitPlan(
        home=home,
        name=name,
        vault=vault if "://" in vault else str(Path(vault).absolute()),
        keys=(keys or home / "keys").absolute(),
        pool=pool.absolute(),
        scratch=(scratch or pool / ".scratch").absolute(),
        libvirt=libvirt,
        database=database,
    )


def init(plan: InitPlan) -> SiteMade:
    """Make the site; ``dozo.toml`` comes last, so a home is a site exactly when it is complete.

    A vault that is there already is taken over when the keys file has its key. What a failed
    attempt left behind does not hinder the next one.
    """
    from dozo.blobs import open_blobs  # noqa: PLC0415  loads the ciphers
    from dozo.vault import Keyring, Vault  # noqa: PLC0415
    from dozo.vault.errors import VaultExists  # noqa: PLC0415

    plan.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (plan.pool, plan.scratch):
        _make_enterable(folder)
    keyring = Keyring.load(plan.keys)
    blobs = open_blobs(plan.vault)
    adopted = False
    try:
        vault = Vault.init(blobs, keyring)
    except VaultExists:
        vault = Vault.open(blobs, Keyring.load(plan.keys))
        adopted = True
    public_key = vault.public_key.to_text()
    if plan.database:
        # Before the home counts as a site: a database that is not there yet can be made, and this
        # repeated.
        Catalog.open(plan.home / CATALOG_NAME, database=plan.database).close()
    site_settings.write_new(
        plan.home,
        name=plan.name,
        vault=plan.vault,
        keys=plan.keys,
        pool=plan.pool,
        scratch=plan.scratch,
        libvirt=plan.libvirt,
        database=plan.database,
    )
    Site.open(plan.home).close()
    return SiteMade(
        site=plan.name,
        site_id=site_settings.site_id(plan.name),
        home=plan.home,
        vault=plan.vault,
        vault_id=vault.vault_id,
        vault_adopted=adopted,
        keys=plan.keys,
        public_key=public_key,
        public_key_file=Keyring.public_path(plan.keys, vault.vault_id),
        pool=plan.pool,
    )


def add_peer(site: Site, *, name: str, vault: str, public_key: str, replace: bool = False) -> Peer:
    """Let a peer's site open what this one stores, and remember where its vault is.

    ``public_key`` is the text, or the path of the ``.pub`` file beside the peer's keys. Doing it
    again changes nothing; ``replace`` is for a peer that came back elsewhere or with new keys.
    """
    from dozo.vault import PublicKey  # noqa: PLC0415  loads the ciphers

    text = public_key
    if not public_key.startswith("dozo-site-") and Path(public_key).is_file():
        text = Path(public_key).read_text()
    key = PublicKey.from_text(text)
    with site.catalog.turn("settings"):
        return _add_peer(site, name, vault, key, replace=replace)


def _add_peer(site: Site, name: str, vault: str, key: "PublicKey", *, replace: bool) -> Peer:
    from dozo.vault import PublicKey  # noqa: PLC0415  loads the ciphers

    peer = Peer(
        name=name,
        vault=vault if "://" in vault else str(Path(vault).absolute()),
        public_key=key.to_text(),
    )
    site_settings.refuse_peer(site.settings, peer, replace=replace)
    before = [one for one in site.settings.peers if one.name == name]
    # The grant comes first: a peer in the settings is one that can read what it is sent.
    site.vault.grant(key)
    site.settings = site_settings.add_peer(site.settings.home, peer, replace=replace)
    for old in before:
        if old.public_key != peer.public_key:
            site.vault.revoke(PublicKey.from_text(old.public_key))
    site.note_sites()
    return peer


def _make_enterable(folder: Path) -> None:
    """Make a folder that QEMU's user may enter; one that is there stays as it is."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o711, exist_ok=True)
        one.chmod(0o711)


@contextmanager
def opened(home: Path) -> Iterator[Site]:
    """The site in ``home`` for the length of a block."""
    site = Site.open(home)
    try:
        yield site
    finally:
        site.close()
