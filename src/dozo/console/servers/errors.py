"""What the pages of servers refuse by themselves."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind


@dataclass(eq=False)
class ForceNotConfirmed(DozoError):
    """The power of a server was to be cut without its name typed."""

    code = "console.force_not_confirmed"
    kind = ErrorKind.REFUSED
    text = "cutting the power of server {self.server} has to be confirmed"
    hint = "Type the server's name, or let it shut down by itself."
    server: str
