"""What can go wrong between the command line and the service."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind, Retry


@dataclass(eq=False)
class ServiceNotRunning(DozoError):
    """Nobody listens on the site's socket."""

    code = "cli.service_not_running"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "the service of the site in {self.home} is not running"
    hint = "Start it with `dozo --home {self.home} serve`."
    home: str


@dataclass(eq=False)
class SocketForbidden(DozoError):
    """The site's socket is there, but it belongs to somebody else."""

    code = "cli.socket_forbidden"
    kind = ErrorKind.FORBIDDEN
    text = "only root and the service's user may use {self.socket}"
    hint = "Use sudo, or log in over the network: `dozo --profile NAME login`."
    socket: str


@dataclass(eq=False)
class ServiceUnreachable(DozoError):
    """A service elsewhere does not answer, or what answers is no Dozo."""

    code = "cli.service_unreachable"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "the service at {self.address} does not answer: {self.problem}"
    hint = "Check that it runs, its address, and for TLS the profile's `ca`."
    address: str
    problem: str


@dataclass(eq=False)
class ProfileUnknown(DozoError):
    """The profiles file has no such profile."""

    code = "cli.profile_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "there is no profile {self.name!r} in {self.file}"
    hint = "Make it: `dozo --profile {self.name} login --url https://…`."
    name: str
    file: str


@dataclass(eq=False)
class ProfilesInvalid(DozoError):
    """The profiles file cannot be read."""

    code = "cli.profiles_invalid"
    kind = ErrorKind.USAGE
    text = "{self.file} cannot be used: {self.problem}"
    hint = "Correct it, or remove it and log in again; docs/cli.md shows what stands in it."
    file: str
    problem: str


@dataclass(eq=False)
class ProfileNeeded(DozoError):
    """Logging in is for services elsewhere; the socket needs none."""

    code = "cli.profile_needed"
    kind = ErrorKind.USAGE
    text = "without a profile `dozo` speaks to this host's service, which needs no login"
    hint = "Name one: `dozo --profile NAME {self.command}`."
    command: str


@dataclass(eq=False)
class AnswerStrange(DozoError):
    """The service answered something that this version does not understand."""

    code = "cli.answer_strange"
    kind = ErrorKind.FAILED
    text = "the service answered {self.method} {self.path} with {self.problem}"
    hint = "Is it a Dozo of the same version? Its log tells more."
    method: str
    path: str
    problem: str


@dataclass(eq=False)
class Unconfirmed(DozoError):
    """Something that cannot be taken back needs a clear yes."""

    code = "cli.unconfirmed"
    kind = ErrorKind.REFUSED
    text = "{self.what} cannot be taken back"
    hint = "Say --yes if it is meant."
    what: str


@dataclass(eq=False)
class CountUnconfirmed(DozoError):
    """More than one thing is to go, and nobody said that so many are meant."""

    code = "cli.count_unconfirmed"
    kind = ErrorKind.REFUSED
    text = "this deletes {self.count} {self.what}"
    hint = "Say --yes if all of them are meant."
    count: int
    what: str


@dataclass(eq=False)
class FileThere(DozoError):
    """The file that a command was to write is there already."""

    code = "cli.file_there"
    kind = ErrorKind.REFUSED
    text = "{self.path} is there already"
    hint = "Choose another name, or remove it; where the command takes --force, that replaces it."
    path: str


@dataclass(eq=False)
class FileUnwritable(DozoError):
    """A file cannot be written."""

    code = "cli.file_unwritable"
    kind = ErrorKind.FAILED
    text = "{self.path} cannot be written: {self.problem}"
    hint = "Check the folder, its space, and who may write there. Nothing was left behind."
    path: str
    problem: str


@dataclass(eq=False)
class DownloadBroken(DozoError):
    """The service did not send the whole file, several times in a row."""

    code = "cli.download_broken"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "only {self.bytes_there} of {self.bytes_whole} bytes came: {self.problem}"
    hint = (
        "The service's log says why; `dozo snapshot verify` shows whether the snapshot is"
        " damaged. Nothing was left behind."
    )
    bytes_there: int
    bytes_whole: int | None
    problem: str
