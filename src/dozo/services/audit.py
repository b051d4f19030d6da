"""The audit trail: who did what to what, and what was refused. It is only ever added to.

Each entry carries the hash of the one before, so that a changed, removed or inserted entry
shows; a row of its own says where the trail ends, so that a cut-off end shows too. Whoever can
write the database can forge all of it: exports kept elsewhere show that.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from django.db.models import Q

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.message import Message
from dozo.services import access
from dozo.services.access import Actor, Operation, Scope
from dozo.services.access_errors import AuditEntryUnknown, AuditTrailBroken
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

NOBODY = "nobody"
_START = "0" * 64
_REDACTED = "(not recorded)"
# Any key that contains one of these words holds what must not be written down.
_SECRET_WORDS = (
    "password",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "cookie",
    "private",
    "master_key",
)
# A token in a text that was not meant to hold one.
_TOKEN = re.compile(r"dozo_[0-9a-z]{4,16}_[0-9A-Za-z]{16,}")
_MOST_CHARACTERS = 2000
_MOST_ITEMS = 200


class Outcome(StrEnum):
    """How an operation ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class AuditObject:
    """What an operation was about; ``tenant`` is whose it is."""

    kind: str = ""
    id: str = ""
    name: str = ""
    tenant: str | None = None

    @classmethod
    def of(cls, row: Any) -> "AuditObject":
        """A row of the catalog."""
        meta = row._meta  # noqa: SLF001  Django's documented name
        kind = meta.verbose_name.replace(" ", "-")
        # A user's or tenant's number says nothing to a reader.
        named = kind in {"user", "tenant"}
        return cls(
            kind=kind,
            id=str(row) if named else str(row.pk),
            name=str(row),
            tenant=_tenant_of(row),
        )


def _tenant_of(row: Any) -> str | None:
    if hasattr(row, "tenant") or row._meta.model_name == "tenant":  # noqa: SLF001
        return access.tenant_of(row)
    owner = getattr(row, "owner", None) or getattr(row, "server", None)
    return access.tenant_of(owner) if owner is not None else None


def record(
    site: Site,
    actor: Actor | None,
    operation: Operation,
    about: AuditObject | None = None,
    *,
    outcome: Outcome = Outcome.DONE,
    detail: Mapping[str, Any] | None = None,
    source: str = "",
) -> "models.AuditEntry":
    """Add an entry, durably, or with the transaction that is open.

    An entry about a change belongs into the change's own transaction; one about a refusal must
    not be in a transaction that the refusal takes back. ``actor`` None is somebody unknown.
    """
    about = about or AuditObject()
    tenant = about.tenant if about.tenant is not None else (actor.tenant if actor else None)
    with site.catalog.transaction():
        site.catalog.audit_heads.get_or_create(number=1)
        head = site.catalog.audit_heads.select_for_update().get(number=1)
        entry = site.catalog.audit_entries.model(
            sequence=head.sequence + 1,
            at=clock.now(),
            actor=_cut(actor.name if actor else NOBODY, 300),
            tenant=_cut(tenant or "", 200),
            operation=operation.value,
            object_kind=_cut(about.kind, 32),
            object_id=_cut(about.id, 255),
            object_name=_cut(about.name, 255),
            outcome=outcome.value,
            detail=redacted(detail or {}),
            source=_cut(source, 64),
            previous_hash=head.hash,
        )
        entry.hash = _hash(entry)
        entry.save(using=site.catalog.alias)
        head.sequence, head.hash = entry.sequence, entry.hash
        head.save(using=site.catalog.alias)
    return entry


@dataclass(kw_only=True)
class Attempt:
    """An operation under way; what it is about and what is to be known may be filled in."""

    about: AuditObject = field(default_factory=AuditObject)
    detail: dict[str, Any] = field(default_factory=dict)

    def on(self, row: Any) -> None:
        """Say which row of the catalog it is about."""
        self.about = AuditObject.of(row)


@contextmanager
def audited(
    scope: Scope,
    operation: Operation,
    *,
    reference: str = "",
    detail: Mapping[str, Any] | None = None,
) -> Iterator[Attempt]:
    """A change with its entry: both are there afterwards, or neither is.

    The block is one transaction, never inside another one, and looks up and permits by itself
    (``scope.server(reference, operation)``); whatever it raises takes the change back and is
    recorded as refused or failed. ``reference`` is what the caller named, recorded where the
    block did not get as far as finding it.
    """
    attempt = Attempt(
        about=AuditObject(kind=operation.group, name=reference), detail=dict(detail or {})
    )
    site = scope.site
    try:
        # durable: an entry about a refusal must outlive the change that it refused.
        # One at a time, so that what the block has read still holds when it writes.
        with site.catalog.turn("changes", durable=True):
            yield attempt
            record(
                site,
                scope.actor,
                operation,
                attempt.about,
                detail=attempt.detail,
                source=scope.source,
            )
    except Exception as error:
        record(
            site,
            scope.actor,
            operation,
            attempt.about,
            outcome=outcome_of(error),
            detail={**attempt.detail, "error": code_of(error)},
            source=scope.source,
        )
        raise


@contextmanager
def recorded(
    scope: Scope,
    operation: Operation,
    *,
    reference: str = "",
    detail: Mapping[str, Any] | None = None,
) -> Iterator[Attempt]:
    """As :func:`audited`, for what the hypervisor or the vault does: no transaction is held.

    What was done there cannot be taken back, so the entry follows it.
    """
    attempt = Attempt(
        about=AuditObject(kind=operation.group, name=reference), detail=dict(detail or {})
    )
    outcome = Outcome.DONE
    try:
        yield attempt
    except BaseException as error:
        outcome = outcome_of(error)
        attempt.detail["error"] = code_of(error)
        raise
    finally:
        record(
            scope.site,
            scope.actor,
            operation,
            attempt.about,
            outcome=outcome,
            detail=attempt.detail,
            source=scope.source,
        )


def refused(
    scope: Scope,
    operation: Operation,
    error: DozoError,
    about: AuditObject | None = None,
    *,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record that something was refused, where nothing else does: such as reading."""
    record(
        scope.site,
        scope.actor,
        operation,
        about,
        outcome=outcome_of(error),
        detail={**(detail or {}), "error": error.code},
        source=scope.source,
    )


_REFUSALS = {
    ErrorKind.USAGE,
    ErrorKind.NOT_FOUND,
    ErrorKind.REFUSED,
    ErrorKind.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN,
    ErrorKind.THROTTLED,
}


def outcome_of(error: BaseException) -> Outcome:
    """Whether it was refused or failed."""
    refusal = isinstance(error, DozoError) and error.kind in _REFUSALS
    return Outcome.REFUSED if refusal else Outcome.FAILED


def code_of(error: BaseException) -> str:
    """The error's stable code; of a defect the name of its class, never its text."""
    return error.code if isinstance(error, DozoError) else type(error).__name__


def redacted(detail: Mapping[str, Any]) -> dict[str, Any]:
    """A detail as it may be written down: plain JSON, bounded, without secrets."""
    plain = _plain(detail)
    assert isinstance(plain, dict)  # noqa: S101  a mapping stays one
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(key): _REDACTED if _is_secret(str(key)) else _plain(each)
            for key, each in list(value.items())[:_MOST_ITEMS]
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in list(value)[:_MOST_ITEMS]]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, datetime):
        return clock.to_text(value)
    # Databases write numbers with a point each in their own way; the hash needs one way.
    return _cut(_without_token(str(value)), _MOST_CHARACTERS)


def _is_secret(key: str) -> bool:
    folded = key.lower().replace("-", "_")
    return any(word in folded for word in _SECRET_WORDS)


def _without_token(text: str) -> str:
    return _TOKEN.sub(_REDACTED, text)


def _cut(text: str, most: int) -> str:
    # PostgreSQL takes neither NUL nor half a surrogate pair.
    clean = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def _fields(entry: "models.AuditEntry") -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": clock.to_text(entry.at),
        "actor": entry.actor,
        "tenant": entry.tenant,
        "operation": entry.operation,
        "object_kind": entry.object_kind,
        "object_id": entry.object_id,
        "object_name": entry.object_name,
        "outcome": entry.outcome,
        "detail": entry.detail,
        "source": entry.source,
        "previous_hash": entry.previous_hash,
    }


def _hash(entry: "models.AuditEntry") -> str:
    text = json.dumps(_fields(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class TrailChecked:
    """A trail that is as it was written; ``hash`` is that of its last entry."""

    entries: int
    hash: str


def verify(scope: Scope) -> TrailChecked:
    """Check the whole trail. Raises :class:`AuditTrailBroken`, ``Forbidden``."""
    _permit(scope, Operation.AUDIT_VERIFY)
    catalog = scope.site.catalog
    head, _ = catalog.audit_heads.get_or_create(number=1)
    sequence, before, at_head = 0, _START, _START if head.sequence == 0 else ""
    for entry in catalog.audit_entries.order_by("sequence").iterator(chunk_size=1000):
        sequence += 1
        if entry.sequence != sequence:
            raise AuditTrailBroken(sequence, Message("an entry is missing"))
        if entry.previous_hash != before:
            raise AuditTrailBroken(sequence, Message("it does not follow the one before"))
        if entry.hash != _hash(entry):
            raise AuditTrailBroken(sequence, Message("it was changed"))
        before = entry.hash
        if sequence == head.sequence:
            at_head = before
    if at_head != head.hash:
        raise AuditTrailBroken(head.sequence, Message("the end of the trail is missing"))
    head.refresh_from_db(using=catalog.alias)
    # Entries may have come meanwhile, but never one that the end does not know.
    if head.sequence < sequence:
        raise AuditTrailBroken(head.sequence, Message("the end of the trail was set back"))
    return TrailChecked(entries=sequence, hash=before)


def entries(
    scope: Scope,
    *,
    operation: str | None = None,
    actor: str | None = None,
    about: str | None = None,
    outcome: Outcome | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Any:
    """Entries that the actor may see, oldest first, as a query set. Raises ``Forbidden``.

    ``about`` is the id of what they are about, or a part of its name; ``actor`` a whole name such
    as ``user:alice``, or what stands behind the colon.
    """
    _permit(scope, Operation.AUDIT_LIST)
    rows = _filtered(scope, operation=operation, outcome=outcome, since=since, until=until)
    if actor:
        names = [actor] if ":" in actor else [f"{one.value}:{actor}" for one in access.ActorKind]
        rows = rows.filter(actor__in=[*names, actor])
    if about:
        rows = rows.filter(Q(object_id=about) | Q(object_name__icontains=about))
    return rows


def entry(scope: Scope, sequence: int) -> "models.AuditEntry":
    """One entry that the actor may see. Raises ``Forbidden``, :class:`AuditEntryUnknown`."""
    row = entries(scope).filter(sequence=sequence).first()
    if row is None:
        raise AuditEntryUnknown(sequence)
    found: models.AuditEntry = row
    return found


def _filtered(
    scope: Scope,
    *,
    operation: str | None = None,
    outcome: Outcome | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Any:
    wanted: dict[str, Any] = {
        "operation": operation,
        "outcome": outcome.value if outcome else None,
        "at__gte": since,
        "at__lt": until,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return scope.audit_entries.filter(**given).order_by("sequence")


def to_json(entry: "models.AuditEntry") -> dict[str, Any]:
    """An entry as it is shown and exported."""
    return {**_fields(entry), "hash": entry.hash}


def lines(
    scope: Scope, *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[str]:
    """The trail as JSON lines, each ending in a newline; that it was exported is recorded.

    Raises ``Forbidden`` before the first line.
    """
    begin_export(scope, since=since, until=until)
    return (_line(row) for row in _filtered(scope, since=since, until=until).iterator(1000))


def _line(row: "models.AuditEntry") -> str:
    return json.dumps(to_json(row), ensure_ascii=False, sort_keys=True) + "\n"


def begin_export(
    scope: Scope, *, since: datetime | None = None, until: datetime | None = None
) -> int:
    """Permit and record an export; the number of the last entry that belongs to it."""
    _permit(scope, Operation.AUDIT_EXPORT)
    return record(
        scope.site,
        scope.actor,
        Operation.AUDIT_EXPORT,
        detail={"since": since, "until": until},
        source=scope.source,
    ).sequence


def export_part(
    scope: Scope,
    *,
    after: int,
    last: int,
    limit: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[tuple[int, str]]:
    """Some lines of an export that was begun, with their numbers; none when it is over."""
    rows = _filtered(scope, since=since, until=until)
    rows = rows.filter(sequence__gt=after, sequence__lte=last)
    return [(row.sequence, _line(row)) for row in rows[:limit]]


def export(
    scope: Scope, file: TextIO, *, since: datetime | None = None, until: datetime | None = None
) -> int:
    """Write the trail as JSON lines to ``file``; the number of entries."""
    count = 0
    for line in lines(scope, since=since, until=until):
        file.write(line)
        count += 1
    return count


def _permit(scope: Scope, operation: Operation) -> None:
    try:
        scope.permit(operation)
    except DozoError as error:
        refused(scope, operation, error, AuditObject(kind="audit"))
        raise
