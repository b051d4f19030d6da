"""A site's settings: ``dozo.toml`` in its home, written with comments and checked when read."""

import json
import os
import re
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dozo.catalog import postgres
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.language import DEFAULT, LANGUAGES
from dozo.model.message import Message, joined
from dozo.model.news import URGENT, News
from dozo.model.quiet import QuietHours
from dozo.services.notes import fsync_directory
from dozo.services.settings_template import TEMPLATE

FILE_NAME = "dozo.toml"
# A site's id follows from its name, so a site that is set up again after a loss, under the
# same name, is the same origin to every snapshot that it took before.
_SITE_NAMESPACE = uuid.UUID("6f0d1a5e-93d5-5b0f-9a55-d0b0d0b0d0b0")


@dataclass(eq=False)
class HomeMissing(DozoError):
    """There is no site at the given home."""

    code = "site.home_missing"
    kind = ErrorKind.NOT_FOUND
    text = "no site in {self.home}: {self.file} does not exist"
    hint = "Make one with `dozo --home {self.home} init`, or name another home (--home, DOZO_HOME)."
    home: str
    file: str = FILE_NAME


@dataclass(eq=False)
class HomeExists(DozoError):
    """A site is there already."""

    code = "site.home_exists"
    kind = ErrorKind.REFUSED
    text = "{self.home} already holds the site {self.name!r}"
    hint = "Choose another home, or edit its dozo.toml."
    home: str
    name: str


@dataclass(eq=False)
class SettingsInvalid(DozoError):
    """``dozo.toml`` cannot be used."""

    code = "site.settings_invalid"
    kind = ErrorKind.USAGE
    text = "{self.path}: {self.problem}"
    hint = "Correct the file; docs/cli.md describes every setting."
    path: str
    problem: str


@dataclass(eq=False)
class PeerUnknown(DozoError):
    """The site has no such peer."""

    code = "site.peer_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "this site has no peer {self.name!r} (it has: {self.known})"
    hint = "Add one with `dozo site add-peer`."
    name: str
    known: str


@dataclass(eq=False)
class PeerExists(DozoError):
    """A peer of that name is known already."""

    code = "site.peer_exists"
    kind = ErrorKind.REFUSED
    text = "the peer {self.name!r} is known already, with the vault {self.vault}"
    hint = "Say --replace to change its vault or its key."
    name: str
    vault: str


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another site, as this one knows it."""

    name: str
    vault: str
    public_key: str

    @property
    def site_id(self) -> str:
        """The id under which the peer's own snapshots name their origin."""
        return site_id(self.name)


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A command that may run inside guests before and after a snapshot, and nothing else may."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that ``dozo.toml`` says. Sizes are bytes, times as their names say."""

    home: Path
    name: str
    vault: str
    keys: Path
    pool: Path
    libvirt: str = "qemu:///system"
    scratch: Path = Path()
    scratch_bytes: int | None = None
    freeze_limit_seconds: float = 10.0
    agent_timeout_seconds: float = 30.0
    reread_days: int = 30
    parallel_volumes: int = 2
    tenant: str = "default"
    language: str = DEFAULT
    listen: str = "127.0.0.1:8790"
    public_url: str = ""
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret_file: Path | None = None
    oidc_username_claim: str = "preferred_username"
    oidc_label: str = ""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    stop_seconds: float = 60
    # The catalog's PostgreSQL database, "" for SQLite in the home. It may hold a password.
    database: str = field(default="", repr=False)
    parallel_jobs: int = 4
    parallel_jobs_tenant: int = 2
    parallel_jobs_upkeep: int = 2
    sync_minutes: float = 5
    scrub_days: float = 7
    prune_hours: float = 24
    undelete_days: float = 7
    retention_share: float = 0.3
    notify: tuple[str, ...] = ()
    notify_behind_hours: float = 24
    notify_quiet: QuietHours | None = None
    notify_urgent: tuple[News, ...] = URGENT
    peers: tuple[Peer, ...] = field(default=())
    hooks: tuple[Hook, ...] = field(default=())

    @property
    def site_id(self) -> str:
        """The id that snapshots of this site carry as their origin."""
        return site_id(self.name)

    @property
    def simulated(self) -> bool:
        """Whether the hypervisor is a simulation, so that no real server is protected."""
        return self.libvirt.startswith("simulated:")

    @property
    def notes(self) -> Path:
        """Where notes about work in flight lie."""
        return self.home / "notes"

    def peer(self, name: str) -> Peer:
        """The peer of that name; :class:`PeerUnknown` otherwise."""
        for one in self.peers:
            if one.name == name:
                return one
        raise PeerUnknown(name, joined(one.name for one in self.peers) or Message("none"))


def site_id(name: str) -> str:
    """The id of the site called ``name``: 32 hexadecimal digits."""
    return uuid.uuid5(_SITE_NAMESPACE, name).hex


def default_home() -> Path:
    """``$DOZO_HOME``, or where a host's only site lives."""
    return Path(os.environ.get("DOZO_HOME") or "/var/lib/dozo")


_DATABASE_EXAMPLE = 'database = "postgresql://dozo@/dozo?host=/run/postgresql"'


def quoted(text: str) -> str:
    """``text`` as a TOML string (JSON's form, which TOML shares once nothing is surrogate)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_new(
    home: Path,
    *,
    name: str,
    vault: str,
    keys: Path,
    pool: Path,
    scratch: Path,
    libvirt: str,
    database: str = "",
) -> Path:
    """Write a commented ``dozo.toml`` into an existing home; :class:`HomeExists` if one is there.

    The file is durable when this returns.
    """
    path = home / FILE_NAME
    text = TEMPLATE.format(
        name=quoted(name),
        vault=quoted(vault),
        keys=quoted(str(keys)),
        libvirt=quoted(libvirt),
        pool=quoted(str(pool)),
        scratch=quoted(str(scratch)),
        database=f"database = {quoted(database)}" if database else f"# {_DATABASE_EXAMPLE}",
    )
    if path.exists():
        raise HomeExists(str(home), load(home).name)
    _replace(path, text)
    return path


def refuse_peer(settings: Settings, peer: Peer, *, replace: bool) -> None:
    """Raises :class:`PeerExists` where :func:`add_peer` would."""
    if peer.name == settings.name:
        raise PeerExists(peer.name, settings.vault)
    for known in settings.peers:
        if known.name == peer.name and known != peer and not replace:
            raise PeerExists(peer.name, known.vault)


def add_peer(home: Path, peer: Peer, *, replace: bool = False) -> Settings:
    """Append a peer to ``dozo.toml``, leaving the rest of the file as it is.

    With ``replace`` a peer of that name is taken out first, such as a site that came back with
    new keys. Adding the same again changes nothing. Raises :class:`PeerExists`.
    """
    settings = load(home)
    refuse_peer(settings, peer, replace=replace)
    if peer in settings.peers:
        return settings
    path = home / FILE_NAME
    text = _without_peer(path.read_text(), peer.name)
    block = (
        f"\n[[peers]]\nname = {quoted(peer.name)}\nvault = {quoted(peer.vault)}\n"
        f"public_key = {quoted(peer.public_key)}\n"
    )
    _replace(path, text.rstrip("\n") + "\n" + block)
    return load(home)


def _without_peer(text: str, name: str) -> str:
    """The file's text without the ``[[peers]]`` table of that name."""
    kept: list[str] = []
    table: list[str] = []
    for line in [*text.splitlines(keepends=True), "["]:
        if line.lstrip().startswith("["):
            if not _is_peer("".join(table), name):
                kept += table
            table = []
        table.append(line)
    return "".join(kept)


def _is_peer(table: str, name: str) -> bool:
    if not table.lstrip().startswith("[[peers]]"):
        return False
    return any(one.get("name") == name for one in tomllib.loads(table)["peers"])


def load(home: Path) -> Settings:
    """The settings of the site in ``home``; :class:`HomeMissing`, :class:`SettingsInvalid`."""
    path = home / FILE_NAME
    try:
        plain = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise HomeMissing(str(home)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(str(path), str(error)) from error
    return _Reader(path, _overridden(path, plain)).settings()


def seen(*paths: Path) -> tuple[object, ...]:
    """What changes whenever one of the files does."""
    found: list[object] = []
    for path in paths:
        try:
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_ino, status.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def _overridden(path: Path, plain: dict[str, Any]) -> dict[str, Any]:
    """The file's tables with the environment's ``DOZO_SECTION_KEY`` in their place.

    A value is read as TOML where it is TOML, else it is a text.
    """
    for section, keys in _KNOWN.items():
        for key in keys:
            text = os.environ.get(f"DOZO_{section}_{key}".upper())
            if text is None:
                continue
            table = plain.setdefault(section, {})
            if not isinstance(table, dict):
                raise SettingsInvalid(
                    str(path), Message("[{section}] must be a section", section=section)
                )
            try:
                table[key] = tomllib.loads(f"value = {text}")["value"]
            except tomllib.TOMLDecodeError:
                table[key] = text
    return plain


_KNOWN = {
    "site": {"name", "tenant", "language"},
    "vault": {"url", "keys"},
    "hypervisor": {"libvirt", "pool", "scratch", "scratch_bytes"},
    "capture": {
        "freeze_limit_seconds",
        "agent_timeout_seconds",
        "reread_days",
        "parallel_volumes",
    },
    "service": {"listen", "public_url", "tls_certificate", "tls_key", "proxies", "stop_seconds"},
    "oidc": {"issuer", "client_id", "client_secret_file", "username_claim", "label"},
    "catalog": {"database"},
    "jobs": {"parallel", "parallel_tenant", "parallel_upkeep"},
    "upkeep": {"sync_minutes", "scrub_days", "prune_hours", "undelete_days", "retention_share"},
    "notify": {"urls", "behind_hours", "quiet", "quiet_zone", "urgent"},
}


def database_address(path: Path, text: str) -> str:
    """A PostgreSQL address in the form that everybody here reads; :class:`SettingsInvalid`."""
    try:
        return postgres.parse(text).url
    except postgres.AddressInvalid as error:
        raise SettingsInvalid(
            str(path), Message("catalog.database: {error}", error=error)
        ) from None


_HOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A path of the guest's, which may be Windows.
_GUEST_PATH = re.compile(r"/|[A-Za-z]:[\\/]|\\\\")


class _Reader:
    """Reads and checks the tables of one settings file."""

    def __init__(self, path: Path, plain: Mapping[str, Any]) -> None:
        self.path = path
        self.plain = plain

    def settings(self) -> Settings:
        self._refuse_unknown()
        home = self.path.parent.absolute()
        pool = home / self._text("hypervisor", "pool")
        return Settings(
            home=home,
            name=self._text("site", "name"),
            tenant=self._text("site", "tenant", "default"),
            language=self._language(),
            vault=self._vault_url(self._text("vault", "url")),
            keys=home / self._text("vault", "keys", "keys"),
            pool=pool,
            libvirt=self._text("hypervisor", "libvirt", "qemu:///system"),
            scratch=home / self._text("hypervisor", "scratch", str(pool / ".scratch")),
            scratch_bytes=self._optional_count("hypervisor", "scratch_bytes"),
            freeze_limit_seconds=self._number("capture", "freeze_limit_seconds", 10, 0.1, 60),
            agent_timeout_seconds=self._number("capture", "agent_timeout_seconds", 30, 1, 600),
            reread_days=int(self._number("capture", "reread_days", 30, 1, 3650)),
            parallel_volumes=int(self._number("capture", "parallel_volumes", 2, 1, 64)),
            listen=self._text("service", "listen", "127.0.0.1:8790"),
            public_url=self._optional_text("service", "public_url"),
            oidc_issuer=self._optional_text("oidc", "issuer"),
            oidc_client_id=self._optional_text("oidc", "client_id"),
            oidc_client_secret_file=self._optional_path("oidc", "client_secret_file"),
            oidc_username_claim=self._text("oidc", "username_claim", "preferred_username"),
            oidc_label=self._optional_text("oidc", "label"),
            tls_certificate=self._optional_path("service", "tls_certificate"),
            tls_key=self._optional_path("service", "tls_key"),
            proxies=self._texts("service", "proxies", ("127.0.0.1", "::1")),
            stop_seconds=self._number("service", "stop_seconds", 60, 0, 600),
            database=self._database(),
            parallel_jobs=int(self._number("jobs", "parallel", 4, 1, 1000)),
            parallel_jobs_tenant=int(self._number("jobs", "parallel_tenant", 2, 1, 1000)),
            parallel_jobs_upkeep=int(self._number("jobs", "parallel_upkeep", 2, 1, 100)),
            sync_minutes=self._number("upkeep", "sync_minutes", 5, 0.01, 1440),
            scrub_days=self._number("upkeep", "scrub_days", 7, 0.01, 365),
            prune_hours=self._number("upkeep", "prune_hours", 24, 0.01, 8760),
            undelete_days=self._number("upkeep", "undelete_days", 7, 0, 3650),
            retention_share=self._number("upkeep", "retention_share", 0.3, 0, 1),
            notify=self._texts("notify", "urls"),
            notify_behind_hours=self._number("notify", "behind_hours", 24, 0.01, 8760),
            notify_quiet=self._quiet(),
            notify_urgent=self._urgent(),
            peers=self._peers(),
            hooks=self._hooks(),
        )

    def _language(self) -> str:
        language = self._text("site", "language", DEFAULT)
        if language not in LANGUAGES:
            known = joined(LANGUAGES)
            raise self._invalid(Message("site.language is one of: {known}", known=known))
        return language

    def _database(self) -> str:
        text = self._optional_text("catalog", "database")
        return database_address(self.path, text) if text else ""

    def _quiet(self) -> QuietHours | None:
        hours = self._optional_text("notify", "quiet")
        zone = self._text("notify", "quiet_zone", "UTC")
        try:
            return QuietHours.parse(hours, zone) if hours else None
        except ValueError:
            raise self._invalid(Message("notify.quiet must be like 22:00-07:00")) from None
        except DozoError as error:
            raise self._invalid(Message("notify.quiet_zone: {error}", error=error)) from None

    def _urgent(self) -> tuple[News, ...]:
        try:
            return tuple(News(one) for one in self._texts("notify", "urgent", URGENT))
        except ValueError as error:
            raise self._invalid(
                Message(
                    "notify.urgent: {problem}; known: {known}", problem=error, known=joined(News)
                )
            ) from None

    def _vault_url(self, url: str) -> str:
        return url if "://" in url else str(self.path.parent.absolute() / url)

    def _peers(self) -> tuple[Peer, ...]:
        entries = self.plain.get("peers", [])
        if not isinstance(entries, list):
            raise self._invalid(Message("peers must be [[peers]] tables"))
        found = []
        for entry in entries:
            values = {}
            for key in ("name", "vault", "public_key"):
                value = entry.get(key)
                if not isinstance(value, str) or not value:
                    raise self._invalid(Message("a peer needs {key} as text", key=key))
                values[key] = value
            values["vault"] = self._vault_url(values["vault"])
            found.append(Peer(**values))
        if len({peer.name for peer in found}) != len(found):
            raise self._invalid(Message("two peers have the same name"))
        return tuple(found)

    def _hooks(self) -> tuple[Hook, ...]:
        entries = self.plain.get("hooks", [])
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise self._invalid(Message("hooks must be [[hooks]] tables"))
        found = [self._hook(entry) for entry in entries]
        if len({hook.name for hook in found}) != len(found):
            raise self._invalid(Message("two hooks have the same name"))
        return tuple(found)

    def _hook(self, entry: Mapping[str, Any]) -> Hook:
        name, command = entry.get("name"), entry.get("command")
        if set(entry) - {"name", "command"}:
            raise self._invalid(Message("a hook has a name and a command, and nothing else"))
        if not isinstance(name, str) or not _HOOK_NAME.fullmatch(name):
            raise self._invalid(
                Message("a hook's name is 1 to 64 letters, digits, '.', '_' or '-'")
            )
        if not isinstance(command, list) or not command:
            raise self._invalid(
                Message("the hook {name} needs a command: a list of texts", name=name)
            )
        if not all(isinstance(one, str) and "\0" not in one for one in command):
            raise self._invalid(
                Message("the hook {name}: the parts of a command are texts", name=name)
            )
        if not _GUEST_PATH.match(command[0]):
            raise self._invalid(
                Message("the hook {name} needs a command with an absolute path", name=name)
            )
        return Hook(name=name, command=tuple(command))

    def _refuse_unknown(self) -> None:
        for section, table in self.plain.items():
            if section in {"peers", "hooks"}:
                continue
            if section not in _KNOWN or not isinstance(table, dict):
                raise self._invalid(
                    Message("[{section}] is not a section that Dozo knows", section=section)
                )
            for key in table:
                if key not in _KNOWN[section]:
                    known = ", ".join(sorted(_KNOWN[section]))
                    raise self._invalid(
                        Message(
                            "{section}.{key} is not a setting (known: {known})",
                            section=section,
                            key=key,
                            known=known,
                        )
                    )

    def _text(self, section: str, key: str, default: str | None = None) -> str:
        value = self.plain.get(section, {}).get(key, default)
        if not isinstance(value, str) or not value:
            raise self._invalid(
                Message(
                    "{section}.{key} must be a text that is not empty", section=section, key=key
                )
            )
        return value

    def _optional_text(self, section: str, key: str) -> str:
        return self._text(section, key) if self.plain.get(section, {}).get(key) else ""

    def _optional_path(self, section: str, key: str) -> Path | None:
        text = self._optional_text(section, key)
        return self.path.parent.absolute() / text if text else None

    def _texts(self, section: str, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value = self.plain.get(section, {}).get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._invalid(
                Message("{section}.{key} must be a list of texts", section=section, key=key)
            )
        return tuple(value)

    def _number(self, section: str, key: str, default: float, least: float, most: float) -> float:
        value = self.plain.get(section, {}).get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._invalid(
                Message("{section}.{key} must be a number", section=section, key=key)
            )
        if not least <= value <= most:
            raise self._invalid(
                Message(
                    "{section}.{key} must lie between {least:g} and {most:g}",
                    section=section,
                    key=key,
                    least=least,
                    most=most,
                )
            )
        return value

    def _optional_count(self, section: str, key: str) -> int | None:
        value = self.plain.get(section, {}).get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._invalid(
                Message("{section}.{key} must be a whole number of bytes", section=section, key=key)
            )
        return value

    def _invalid(self, problem: str) -> SettingsInvalid:
        return SettingsInvalid(str(self.path), problem)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    # For the owner alone: addresses in it may hold passwords.
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_directory(path.parent)
