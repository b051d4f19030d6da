"""A catalog on PostgreSQL: its address, and noticing that a connection has ended."""

import hashlib
import select
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from django.db import connections

from dozo.model.message import Message

SCHEME = "postgresql"
# What libpq says about itself unless the address says otherwise. A host that lost its power
# closes nothing: without keep-alives a request to it would wait for hours.
_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "dozo catalog",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


class AddressInvalid(ValueError):
    """An address of no database. Its text holds no part of it: there may be a password."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Address:
    """Where a database is; ``options`` are libpq's other parameters, ``sslmode`` for one."""

    database: str
    user: str
    password: str
    host: str
    port: str
    options: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    @property
    def url(self) -> str:
        """The address in one form that libpq and SQLAlchemy read alike; with its password."""
        return self._url(self.password)

    @property
    def shown(self) -> str:
        """The address without its password, for people."""
        return self._url("")

    @property
    def alias(self) -> str:
        """A name for the database, without secrets, of its own for each way to reach it."""
        return f"{SCHEME}-{hashlib.sha256(self.url.encode()).hexdigest()[:16]}"

    def _url(self, password: str) -> str:
        user = quote(self.user, safe="") + (f":{quote(password, safe='')}" if password else "")
        more = {"host": self.host, "port": self.port, **dict(self.options)}
        if not password:
            more.pop("sslpassword", None)
        query = urlencode({key: value for key, value in more.items() if value})
        name = quote(self.database, safe="")
        return f"{SCHEME}://{user}@/{name}" + (f"?{query}" if query else "")


def parse(url: str) -> Address:
    """The parts of ``postgresql://[USER[:PASSWORD]@][HOST][:PORT]/DATABASE[?PARAMETER=VALUE…]``.

    A host that begins with ``/`` (as ``?host=/run/postgresql``, or percent-encoded) is the folder
    of a Unix socket; without one libpq's own default holds. Raises :class:`AddressInvalid`.
    """
    import psycopg  # noqa: PLC0415  loads libpq, which sites on SQLite do without
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    # An error's text may hold pieces of the address, such as the end of a password with a `/`.
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme != SCHEME:
        raise AddressInvalid(Message("it must begin with {scheme}://", scheme=SCHEME))
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except psycopg.Error:
        raise AddressInvalid(
            Message(
                "it cannot be read; in a password, write / @ : ? # and % as %2F %40 %3A %3F %23 %25"
            )
        ) from None
    taken = {key: parts.pop(key, "") for key in ("dbname", "user", "password", "host", "port")}
    if not taken["dbname"]:
        raise AddressInvalid(
            Message("it names no database: {scheme}://USER@HOST/DATABASE", scheme=SCHEME)
        )
    if taken["port"] and not all(one.isdigit() for one in taken["port"].split(",")):
        raise AddressInvalid(Message("its port is no number"))
    return Address(
        database=taken["dbname"],
        user=taken["user"],
        password=taken["password"],
        host=taken["host"],
        port=taken["port"],
        options=tuple(sorted(parts.items())),
    )


def connection_settings(address: Address) -> dict[str, Any]:
    """Django's settings for connections to it."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.database,
        "USER": address.user,
        "PASSWORD": address.password,
        "HOST": address.host,
        "PORT": address.port,
        "OPTIONS": {**_DEFAULTS, **dict(address.options)},
        # A web request's ends with it, for its thread does; other threads keep theirs: see `mend`.
        "CONN_MAX_AGE": 0,
    }


def mend(alias: str) -> None:
    """Drop this thread's connection if the server has ended it, so that the next use makes another.

    A connection in a transaction is left alone: what was done in it is lost, and must fail. Costs
    one system call while all is well: an idle connection has something to read only when the
    server ends it (or has a notice).
    """
    wrapper = connections[alias]
    inner = wrapper.connection
    if wrapper.vendor != "postgresql" or inner is None or wrapper.in_atomic_block:
        return
    if inner.closed:
        wrapper.close()
        return
    poll = select.poll()
    poll.register(inner.fileno(), select.POLLIN)
    if poll.poll(0) and not wrapper.is_usable():
        wrapper.close()
