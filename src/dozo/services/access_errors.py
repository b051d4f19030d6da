"""What keeps somebody out."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.message import joined


@dataclass(eq=False)
class LoginRequired(DozoError):
    """Nobody in particular asked; only health and login answer to that."""

    code = "access.login_required"
    kind = ErrorKind.UNAUTHENTICATED
    text = "this needs a login or a token"
    hint = "Log in, or send a token: `Authorization: Bearer dozo_…`."


@dataclass(eq=False)
class Forbidden(DozoError):
    """The actor may not do this, whatever the object's state."""

    code = "access.forbidden"
    kind = ErrorKind.FORBIDDEN
    text = "{self.actor} may not do {self.operation}"
    hint = "docs/access.md shows what each role may do; a token may do what its scopes name."
    actor: str
    operation: str


@dataclass(eq=False)
class ObjectHidden(DozoError):
    """The object is another tenant's: to this actor it does not exist.

    Lookups through ``Scope`` answer first, with the error of an unknown reference.
    """

    code = "access.object_hidden"
    kind = ErrorKind.NOT_FOUND
    text = "there is no such object"
    hint = "The lists show what there is."


@dataclass(eq=False)
class PasswordChangeRequired(DozoError):
    """The password was set by somebody else and has to be replaced first."""

    code = "access.password_change_required"
    kind = ErrorKind.FORBIDDEN
    text = "the password has to be changed first"
    hint = "Choose a password of your own; everything else works afterwards."


@dataclass(eq=False)
class LoginFailed(DozoError):
    """Unknown user, wrong password, disabled user or disabled tenant: it is not said which."""

    code = "access.login_failed"
    kind = ErrorKind.UNAUTHENTICATED
    text = "the user name or the password is not right"
    hint = "Try again; whoever manages the users can set a new password."


@dataclass(eq=False)
class LoginThrottled(DozoError):
    """Too many failed logins for this user name or from this address."""

    code = "access.login_throttled"
    kind = ErrorKind.THROTTLED
    retry = Retry.LATER
    text = "too many failed logins: try again in {self.seconds} s"
    hint = "Wait that long; the right password works then."
    seconds: int


@dataclass(eq=False)
class TokenInvalid(DozoError):
    """The token is unknown, expired or revoked, or its owner is disabled: it is not said which."""

    code = "access.token_invalid"
    kind = ErrorKind.UNAUTHENTICATED
    text = "the token is not valid"
    hint = "Make a new one."


@dataclass(eq=False)
class TokenScopeInvalid(DozoError):
    """A scope that means nothing."""

    code = "token.scope_invalid"
    kind = ErrorKind.USAGE
    text = "{self.scope!r} is not a scope: {self.reason}"
    hint = "Such as `snapshot.create:volume=UUID`, `snapshot.*`, `*.list` or `*`: docs/access.md."
    scope: str
    reason: str


@dataclass(eq=False)
class TokenExpiryInvalid(DozoError):
    """A token cannot end then."""

    code = "token.expiry_invalid"
    kind = ErrorKind.USAGE
    text = "a token cannot expire at {self.expires_at}: that is over"
    hint = "Give a time to come, or none."
    expires_at: str


@dataclass(eq=False)
class TokenUnknown(DozoError):
    """The user has no such token."""

    code = "token.unknown"
    kind = ErrorKind.NOT_FOUND
    text = "no token {self.prefix!r}"
    hint = "`dozo token list` shows the tokens; a token is named by the part after `dozo_`."
    prefix: str


@dataclass(eq=False)
class UserUnknown(DozoError):
    """There is no such user."""

    code = "user.unknown"
    kind = ErrorKind.NOT_FOUND
    text = "no user {self.username!r}"
    hint = "`dozo user list` shows the users."
    username: str


@dataclass(eq=False)
class UserExists(DozoError):
    """The user name is taken, at this site, by whomever."""

    code = "user.exists"
    kind = ErrorKind.REFUSED
    text = "the user name {self.username!r} is taken"
    hint = "Choose another one."
    username: str


@dataclass(eq=False)
class UserChanged(DozoError):
    """Somebody else has changed the user meanwhile."""

    code = "user.changed"
    kind = ErrorKind.REFUSED
    text = "user {self.username!r} has changed since you read it"
    hint = "Read it again, and make your change to what is there now."
    username: str


@dataclass(eq=False)
class UserInvalid(DozoError):
    """A user cannot be like that."""

    code = "user.invalid"
    kind = ErrorKind.USAGE
    text = "{self.field} cannot be {self.value!r}: {self.reason}"
    hint = "docs/access.md says what a user has."
    field: str
    value: str
    reason: str


@dataclass(eq=False)
class LastOperator(DozoError):
    """Without an operator nobody could let anybody in again."""

    code = "user.last_operator"
    kind = ErrorKind.REFUSED
    text = "{self.username} is the last operator"
    hint = "Make another operator first."
    username: str


@dataclass(eq=False)
class PasswordRefused(DozoError):
    """The password breaks the rules."""

    code = "user.password_refused"
    kind = ErrorKind.USAGE
    text = "the password cannot be used: {self.reasons_text}"
    hint = "Take at least 12 characters that nobody would guess, such as four random words."
    reasons: list[str]

    @property
    def reasons_text(self) -> str:
        """The reasons in one line."""
        return joined(self.reasons, "; ")


@dataclass(eq=False)
class TenantUnknown(DozoError):
    """There is no such tenant."""

    code = "tenant.unknown"
    kind = ErrorKind.NOT_FOUND
    text = "no tenant {self.name!r}"
    hint = "`dozo tenant list` shows the tenants."
    name: str


@dataclass(eq=False)
class TenantExists(DozoError):
    """The name is taken."""

    code = "tenant.exists"
    kind = ErrorKind.REFUSED
    text = "there is a tenant {self.name!r} already"
    hint = "Choose another name."
    name: str


@dataclass(eq=False)
class TenantNameInvalid(DozoError):
    """A tenant cannot be called that."""

    code = "tenant.name_invalid"
    kind = ErrorKind.USAGE
    text = "{self.name!r} cannot be the name of a tenant"
    hint = "Use up to 63 letters, digits, dots, dashes and underscores."
    name: str


@dataclass(eq=False)
class TagInvalid(DozoError):
    """A server cannot be tagged like that."""

    code = "server.tag_invalid"
    kind = ErrorKind.USAGE
    text = "{self.tag!r} cannot be a tag"
    hint = "Use up to 63 letters, digits, dots, colons, dashes and underscores."
    tag: str


@dataclass(eq=False)
class AuditEntryUnknown(DozoError):
    """The trail has no such entry, or none that the actor may see."""

    code = "audit.entry_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "there is no audit entry {self.sequence}"
    hint = "`dozo audit list` shows the entries."
    sequence: int


@dataclass(eq=False)
class AuditTrailBroken(DozoError):
    """The audit trail is not what was written."""

    code = "audit.broken"
    kind = ErrorKind.DAMAGED
    text = "the audit trail is not as it was written: {self.problem} at entry {self.sequence}"
    hint = "Compare it with the last export; whoever can write the database can have changed it."
    sequence: int
    problem: str


@dataclass(eq=False)
class SecondFactorRequired(DozoError):
    """The password is right, and the account has a second factor."""

    code = "access.second_factor_required"
    kind = ErrorKind.UNAUTHENTICATED
    text = "this account also needs a code of its authenticator app"
    hint = "Send the code that the app shows now, or one of the spare codes, with the password."


@dataclass(eq=False)
class SecondFactorWrong(DozoError):
    """The password is right, the code is not."""

    code = "access.second_factor_wrong"
    kind = ErrorKind.UNAUTHENTICATED
    text = "the code is not right, or it was used already"
    hint = "Wait for the app's next code; without the app, use a spare code."
