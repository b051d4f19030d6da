"""Who may do what: every operation of the service with the roles that may ask for it.

The same table, for readers, is in docs/access.md.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Role(StrEnum):
    """What somebody is. Members and tenant admins belong to a tenant, operators to none."""

    MEMBER = "member"
    TENANT_ADMIN = "tenant-admin"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Reach(Enum):
    """What an operation is about, which decides how the tenant counts."""

    # Anybody, without logging in.
    OPEN = "open"
    # The actor's own account and tokens.
    SELF = "self"
    # A list: everybody gets the part that they may see.
    LIST = "list"
    # One tenant's object; for others than that tenant it does not exist.
    OBJECT = "object"
    # The site as a whole.
    SITE = "site"


class Operation(StrEnum):
    """Everything that can be asked of the service."""

    HEALTH_SHOW = "health.show"
    SESSION_LOGIN = "session.login"
    SESSION_LOGOUT = "session.logout"

    ACCOUNT_SHOW = "account.show"
    ACCOUNT_UPDATE = "account.update"
    ACCOUNT_CHANGE_PASSWORD = "account.change-password"  # noqa: S105  an operation's name
    ACCOUNT_SECOND_FACTOR = "account.second-factor"
    TOKEN_CREATE = "token.create"  # noqa: S105
    TOKEN_LIST = "token.list"  # noqa: S105
    TOKEN_SHOW = "token.show"  # noqa: S105
    TOKEN_REVOKE = "token.revoke"  # noqa: S105

    SERVER_LIST = "server.list"
    SERVER_SHOW = "server.show"
    SERVER_CREATE = "server.create"
    SERVER_START = "server.start"
    SERVER_STOP = "server.stop"
    SERVER_DELETE = "server.delete"
    SERVER_TRACK = "server.track"
    SERVER_UNTRACK = "server.untrack"
    SERVER_TAG = "server.tag"
    SERVER_ASSIGN = "server.assign"

    VOLUME_LIST = "volume.list"
    VOLUME_SHOW = "volume.show"
    VOLUME_CREATE = "volume.create"
    VOLUME_ATTACH = "volume.attach"
    VOLUME_DETACH = "volume.detach"
    VOLUME_DELETE = "volume.delete"

    SNAPSHOT_LIST = "snapshot.list"
    SNAPSHOT_SHOW = "snapshot.show"
    SNAPSHOT_CREATE = "snapshot.create"
    SNAPSHOT_DELETE = "snapshot.delete"
    SNAPSHOT_UNDELETE = "snapshot.undelete"
    SNAPSHOT_VERIFY = "snapshot.verify"
    SNAPSHOT_COPY = "snapshot.copy"
    SNAPSHOT_RESTORE_FILE = "snapshot.restore-file"

    RECOVERY_POINT_LIST = "recovery-point.list"
    RECOVERY_POINT_SHOW = "recovery-point.show"
    RECOVERY_POINT_CREATE = "recovery-point.create"
    RECOVERY_POINT_DELETE = "recovery-point.delete"
    RECOVERY_POINT_UNDELETE = "recovery-point.undelete"
    RECOVERY_POINT_VERIFY = "recovery-point.verify"
    RECOVERY_POINT_COPY = "recovery-point.copy"

    TEMPLATE_LIST = "template.list"
    TEMPLATE_SHOW = "template.show"
    TEMPLATE_CREATE = "template.create"
    TEMPLATE_DELETE = "template.delete"

    RESTORE_SERVER = "restore.server"
    RESTORE_VOLUME = "restore.volume"
    RESTORE_IN_PLACE = "restore.in-place"

    SCHEDULE_LIST = "schedule.list"
    SCHEDULE_SHOW = "schedule.show"
    SCHEDULE_PREVIEW = "schedule.preview"
    SCHEDULE_CREATE = "schedule.create"
    SCHEDULE_UPDATE = "schedule.update"
    SCHEDULE_DELETE = "schedule.delete"
    SCHEDULE_RUN = "schedule.run"

    HOLD_LIST = "hold.list"
    HOLD_SHOW = "hold.show"
    HOLD_PLACE = "hold.place"
    HOLD_EXTEND = "hold.extend"

    JOB_LIST = "job.list"
    JOB_SHOW = "job.show"
    JOB_CANCEL = "job.cancel"

    USER_LIST = "user.list"
    USER_SHOW = "user.show"
    USER_CREATE = "user.create"
    USER_UPDATE = "user.update"
    USER_SET_PASSWORD = "user.set-password"  # noqa: S105
    USER_RESET_SECOND_FACTOR = "user.reset-second-factor"
    USER_DISABLE = "user.disable"
    USER_ENABLE = "user.enable"
    USER_TOKEN_LIST = "user.token-list"  # noqa: S105
    USER_TOKEN_REVOKE = "user.token-revoke"  # noqa: S105

    TENANT_LIST = "tenant.list"
    TENANT_SHOW = "tenant.show"
    TENANT_CREATE = "tenant.create"
    TENANT_DISABLE = "tenant.disable"
    TENANT_ENABLE = "tenant.enable"
    POLICY_SHOW = "policy.show"
    POLICY_SET = "policy.set"
    QUOTA_SHOW = "quota.show"

    SITE_LIST = "site.list"
    SITE_SHOW = "site.show"
    SITE_ADD_PEER = "site.add-peer"
    SITE_REBUILD = "site.rebuild"
    SITE_REBUILD_CATALOG = "site.rebuild-catalog"
    SITE_PRUNE = "site.prune"
    SITE_SCRUB = "site.scrub"
    SITE_SYNC = "site.sync"
    SITE_RETAIN = "site.retain"
    SITE_REPAIR = "site.repair"

    AUDIT_LIST = "audit.list"
    AUDIT_EXPORT = "audit.export"
    AUDIT_VERIFY = "audit.verify"
    SETTINGS_SHOW = "settings.show"
    METRICS_SHOW = "metrics.show"
    DOCTOR_RUN = "doctor.run"
    NOTIFICATION_TEST = "notification.test"

    @property
    def group(self) -> str:
        """What it is about: ``server`` of ``server.start``."""
        return self.value.partition(".")[0]

    @property
    def verb(self) -> str:
        """What is done: ``start`` of ``server.start``."""
        return self.value.partition(".")[2]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Who may ask for an operation, and what it is about."""

    reach: Reach
    roles: frozenset[Role]


_EVERYBODY = frozenset(Role)
_WORKERS = frozenset({Role.MEMBER, Role.TENANT_ADMIN, Role.OPERATOR})
_ADMINS = frozenset({Role.TENANT_ADMIN, Role.OPERATOR})
_ADMINS_AND_AUDITORS = _ADMINS | {Role.AUDITOR}
_OPERATORS = frozenset({Role.OPERATOR})
_SITE_READERS = frozenset({Role.OPERATOR, Role.AUDITOR})

_O = Operation

_GRANTS: tuple[tuple[Reach, frozenset[Role], tuple[Operation, ...]], ...] = (
    (Reach.OPEN, _EVERYBODY, (_O.HEALTH_SHOW, _O.SESSION_LOGIN)),
    (
        Reach.SELF,
        _EVERYBODY,
        (
            _O.SESSION_LOGOUT,
            _O.ACCOUNT_SHOW,
            _O.ACCOUNT_UPDATE,
            _O.ACCOUNT_CHANGE_PASSWORD,
            _O.ACCOUNT_SECOND_FACTOR,
            _O.TOKEN_CREATE,
            _O.TOKEN_LIST,
            _O.TOKEN_SHOW,
            _O.TOKEN_REVOKE,
        ),
    ),
    (
        Reach.LIST,
        _EVERYBODY,
        (
            _O.SERVER_LIST,
            _O.VOLUME_LIST,
            _O.SNAPSHOT_LIST,
            _O.RECOVERY_POINT_LIST,
            _O.TEMPLATE_LIST,
            _O.SCHEDULE_LIST,
            _O.HOLD_LIST,
            _O.JOB_LIST,
            _O.TENANT_LIST,
            _O.SITE_LIST,
        ),
    ),
    (
        Reach.LIST,
        _ADMINS_AND_AUDITORS,
        (_O.USER_LIST, _O.AUDIT_LIST, _O.AUDIT_EXPORT),
    ),
    (
        Reach.OBJECT,
        _EVERYBODY,
        (
            _O.SERVER_SHOW,
            _O.VOLUME_SHOW,
            _O.SNAPSHOT_SHOW,
            _O.RECOVERY_POINT_SHOW,
            _O.TEMPLATE_SHOW,
            _O.SCHEDULE_SHOW,
            _O.SCHEDULE_PREVIEW,
            _O.HOLD_SHOW,
            _O.JOB_SHOW,
            _O.TENANT_SHOW,
            _O.POLICY_SHOW,
            _O.QUOTA_SHOW,
        ),
    ),
    (
        Reach.OBJECT,
        _WORKERS,
        (
            _O.SERVER_CREATE,
            _O.SERVER_START,
            _O.SERVER_STOP,
            _O.SERVER_TRACK,
            _O.SERVER_UNTRACK,
            _O.VOLUME_CREATE,
            _O.VOLUME_ATTACH,
            _O.VOLUME_DETACH,
            _O.SNAPSHOT_CREATE,
            _O.SNAPSHOT_DELETE,
            _O.SNAPSHOT_UNDELETE,
            _O.SNAPSHOT_VERIFY,
            _O.SNAPSHOT_COPY,
            _O.SNAPSHOT_RESTORE_FILE,
            _O.RECOVERY_POINT_CREATE,
            _O.RECOVERY_POINT_DELETE,
            _O.RECOVERY_POINT_UNDELETE,
            _O.RECOVERY_POINT_VERIFY,
            _O.RECOVERY_POINT_COPY,
            _O.TEMPLATE_CREATE,
            _O.TEMPLATE_DELETE,
            _O.RESTORE_SERVER,
            _O.RESTORE_VOLUME,
            _O.RESTORE_IN_PLACE,
            _O.SCHEDULE_CREATE,
            _O.SCHEDULE_UPDATE,
            _O.SCHEDULE_DELETE,
            _O.SCHEDULE_RUN,
            _O.JOB_CANCEL,
        ),
    ),
    (
        Reach.OBJECT,
        _ADMINS,
        (
            _O.SERVER_DELETE,
            _O.SERVER_TAG,
            _O.VOLUME_DELETE,
            # Nobody can take a hold back, and what it keeps counts towards the quota.
            _O.HOLD_PLACE,
            _O.HOLD_EXTEND,
            _O.USER_CREATE,
            _O.USER_UPDATE,
            _O.USER_SET_PASSWORD,
            _O.USER_RESET_SECOND_FACTOR,
            _O.USER_DISABLE,
            _O.USER_ENABLE,
            _O.USER_TOKEN_REVOKE,
        ),
    ),
    (Reach.OBJECT, _ADMINS_AND_AUDITORS, (_O.USER_SHOW, _O.USER_TOKEN_LIST)),
    (
        Reach.OBJECT,
        _OPERATORS,
        (_O.SERVER_ASSIGN, _O.TENANT_DISABLE, _O.TENANT_ENABLE, _O.POLICY_SET),
    ),
    (
        Reach.SITE,
        _OPERATORS,
        (
            _O.TENANT_CREATE,
            _O.SITE_ADD_PEER,
            _O.SITE_REBUILD,
            _O.SITE_REBUILD_CATALOG,
            _O.SITE_PRUNE,
            _O.SITE_SYNC,
            _O.SITE_RETAIN,
            _O.SITE_SCRUB,
            _O.SITE_REPAIR,
            _O.NOTIFICATION_TEST,
        ),
    ),
    (
        Reach.SITE,
        _SITE_READERS,
        (_O.SITE_SHOW, _O.AUDIT_VERIFY, _O.SETTINGS_SHOW, _O.METRICS_SHOW, _O.DOCTOR_RUN),
    ),
)

RULES: dict[Operation, Rule] = {
    operation: Rule(reach=reach, roles=roles)
    for reach, roles, operations in _GRANTS
    for operation in operations
}

# A token that could do these would outlive its own end, or its owner's trust in it.
NOT_BY_TOKEN = frozenset(
    {
        _O.ACCOUNT_UPDATE,
        _O.ACCOUNT_CHANGE_PASSWORD,
        _O.ACCOUNT_SECOND_FACTOR,
        _O.TOKEN_CREATE,
        _O.USER_SET_PASSWORD,
        _O.USER_RESET_SECOND_FACTOR,
    }
)

# All that somebody may do whose password was set by another and is not theirs yet.
BEFORE_PASSWORD_CHANGE = frozenset({_O.SESSION_LOGOUT, _O.ACCOUNT_SHOW, _O.ACCOUNT_CHANGE_PASSWORD})
