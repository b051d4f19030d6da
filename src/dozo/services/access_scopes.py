"""What a token may do, written as scopes.

::

    scope    = pattern [":" selector]
    pattern  = "*" | operation | group ".*" | "*." verb
    selector = ("server" | "volume") "=" uuid

``snapshot.create:volume=5f0c…`` is for a guest's cron job: this volume's snapshots and nothing
else. A token may do what one of its scopes covers and its owner's role permits.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from dozo.model.message import Message
from dozo.services.access_errors import TokenScopeInvalid
from dozo.services.access_rules import NOT_BY_TOKEN, RULES, Operation, Reach

_KINDS = ("server", "volume")
# Groups whose objects are, or belong to, a server or a volume.
OBJECT_GROUPS = frozenset(
    {
        "server",
        "volume",
        "snapshot",
        "recovery-point",
        "template",
        "restore",
        "schedule",
        "hold",
    }
)
_GROUPS = frozenset(operation.group for operation in Operation)
_VERBS = frozenset(operation.verb for operation in Operation)


@dataclass(frozen=True, kw_only=True)
class TokenScope:
    """One scope; ``selector`` is such as ``volume=UUID``, or empty for all objects."""

    pattern: str
    selector: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a scope. Raises :class:`TokenScopeInvalid`."""
        pattern, colon, selector = text.partition(":")
        found = _matching(pattern)
        if not found:
            raise TokenScopeInvalid(
                text, Message("no operation is called {pattern!r}", pattern=pattern)
            )
        if found <= NOT_BY_TOKEN:
            raise TokenScopeInvalid(text, Message("that needs a login, no token can do it"))
        if not colon:
            return cls(pattern=pattern)
        if not any(one.group in OBJECT_GROUPS for one in found):
            raise TokenScopeInvalid(
                text, Message("{pattern!r} is not about servers or volumes", pattern=pattern)
            )
        kind, equals, value = selector.partition("=")
        if kind not in _KINDS or not equals:
            raise TokenScopeInvalid(
                text, Message("after the colon comes server=UUID or volume=UUID")
            )
        try:
            uuid = UUID(value)
        except ValueError:
            raise TokenScopeInvalid(text, Message("{value!r} is not a UUID", value=value)) from None
        return cls(pattern=pattern, selector=f"{kind}={uuid}")

    def __str__(self) -> str:
        return f"{self.pattern}:{self.selector}" if self.selector else self.pattern

    def names(self, operation: Operation) -> bool:
        """Whether the pattern includes the operation, of whatever object."""
        return operation in _matching(self.pattern)

    def covers(self, operation: Operation, about: Collection[str]) -> bool:
        """Whether the operation is included for an object; ``about`` as ``volume=UUID``."""
        if not self.names(operation):
            return False
        if not self.selector:
            return True
        if operation.group not in OBJECT_GROUPS:
            return False
        return RULES[operation].reach is Reach.LIST or self.selector in about

    @property
    def opens_all(self) -> bool:
        """Whether it reaches every server and volume of the owner."""
        return not self.selector and any(
            one.group in OBJECT_GROUPS for one in _matching(self.pattern)
        )


def parse_scopes(texts: Iterable[str]) -> tuple[TokenScope, ...]:
    """Read scopes, each once. Raises :class:`TokenScopeInvalid`, also for none at all."""
    found = tuple(dict.fromkeys(TokenScope.parse(text) for text in texts))
    if not found:
        raise TokenScopeInvalid("", Message("a token needs at least one scope"))
    return found


def read_scopes(texts: Iterable[str]) -> tuple[TokenScope, ...]:
    """Read stored scopes: one that this version does not know permits nothing."""
    found = []
    for text in texts:
        try:
            found.append(TokenScope.parse(text))
        except TokenScopeInvalid:
            continue
    return tuple(found)


def _matching(pattern: str) -> frozenset[Operation]:
    group, _, verb = pattern.partition(".")
    if pattern == "*":
        return frozenset(Operation)
    if verb == "*" and group in _GROUPS:
        return frozenset(one for one in Operation if one.group == group)
    if group == "*" and verb in _VERBS:
        return frozenset(one for one in Operation if one.verb == verb)
    return frozenset(one for one in Operation if one.value == pattern)
