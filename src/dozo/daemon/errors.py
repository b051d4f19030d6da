"""Why a service or a worker cannot run here."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind


@dataclass(eq=False)
class ServiceRuns(DozoError):
    """Another process serves the same home."""

    code = "daemon.service_runs"
    kind = ErrorKind.REFUSED
    text = "a service already runs for {self.home}{self.by}"
    hint = "Stop it first (systemctl stop dozo), or name another home (--home)."
    home: str
    by: str


@dataclass(eq=False)
class WorkerRuns(DozoError):
    """Another process runs this site's jobs, and its database allows only one."""

    code = "daemon.worker_runs"
    kind = ErrorKind.REFUSED
    text = "a worker already runs for {self.home}{self.by}, and SQLite serves only one"
    hint = "Set catalog.database to a PostgreSQL database to run several workers."
    home: str
    by: str


@dataclass(eq=False)
class ListenOpen(DozoError):
    """Passwords and tokens would cross the network in clear."""

    code = "daemon.listen_open"
    kind = ErrorKind.REFUSED
    text = "service.listen is {self.listen}, which others can reach, and there is no TLS"
    hint = (
        "Set service.tls_certificate and service.tls_key; or say --behind-proxy if a proxy in"
        " front does TLS and nobody else can reach the address; or listen on 127.0.0.1."
    )
    listen: str


@dataclass(eq=False)
class ListenFailed(DozoError):
    """The address cannot be listened on."""

    code = "daemon.listen_failed"
    kind = ErrorKind.UNAVAILABLE
    text = "cannot listen on {self.address}: {self.reason}"
    hint = "Find out who uses the address (ss -ltnp), or change service.listen."
    address: str
    reason: str


@dataclass(eq=False)
class TlsUnusable(DozoError):
    """The certificate or its key cannot be used."""

    code = "daemon.tls_unusable"
    kind = ErrorKind.USAGE
    text = "TLS cannot be used with {self.certificate} and {self.key}: {self.reason}"
    hint = "Give PEM files: the chain with the server's certificate first, and its key."
    certificate: str
    key: str
    reason: str
