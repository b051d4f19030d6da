"""Who may come in, and what they did: users, tokens, failed logins, the audit trail.

No secret stands here in a form that can be used: passwords are Argon2 hashes, of tokens only a
hash is kept. Times are UTC.
"""

import secrets
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from dozo.model import clock


class RoleChoice(models.TextChoices):
    """What somebody is; ``dozo.services.access`` says what that permits."""

    MEMBER = "member"
    TENANT_ADMIN = "tenant-admin"
    OPERATOR = "operator"
    AUDITOR = "auditor"


def new_token_prefix() -> str:
    """The public part of a token: 10 hexadecimal digits."""
    return secrets.token_hex(5)


class User(AbstractBaseUser):
    """Somebody who can log in. Operators belong to no tenant; auditors may."""

    username = models.CharField(unique=True, max_length=150)
    display_name = models.CharField(max_length=200, blank=True, default="")
    email = models.EmailField(blank=True, default="")
    # Empty: as the browser or the terminal has it.
    language = models.CharField(max_length=8, blank=True, default="")
    time_zone = models.CharField(max_length=64, blank=True, default="")
    role = models.CharField(
        max_length=16, choices=RoleChoice.choices, default=RoleChoice.MEMBER.value
    )
    tenant = models.ForeignKey(
        "catalog.Tenant", null=True, blank=True, on_delete=models.PROTECT, related_name="users"
    )
    is_active = models.BooleanField(default=True)
    must_change_password = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=clock.now)

    objects: ClassVar[BaseUserManager[Any]] = BaseUserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering: ClassVar = ["username"]
        constraints: ClassVar = [
            # Whoever works inside a tenant has one; whoever runs the site has none.
            models.CheckConstraint(
                name="user_tenant_fits_role",
                condition=(
                    models.Q(role__in=["member", "tenant-admin"], tenant__isnull=False)
                    | models.Q(role="operator", tenant__isnull=True)
                    | models.Q(role="auditor")
                ),
            )
        ]

    def __str__(self) -> str:
        return self.username


class Token(models.Model):
    """A key to the API: ``dozo_PREFIX_SECRET``, of which only the prefix is kept."""

    prefix = models.CharField(primary_key=True, max_length=16, default=new_token_prefix)
    name = models.CharField(max_length=200)
    # SHA-256 of the whole token, in hexadecimal: the secret is random enough to need no salt.
    secret_hash = models.CharField(unique=True, max_length=64)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # Made by a login: it stands for the user in person, until it ends or the user logs out.
    session = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["-created_at", "prefix"]

    def __str__(self) -> str:
        return self.name


class SecondFactor(models.Model):
    """The app whose codes a user logs in with, besides the password."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="second_factor")
    # By a key that lies in the home: the catalog alone opens nothing.
    sealed_secret = models.CharField(max_length=400)
    # It counts from when a first code was right.
    confirmed_at = models.DateTimeField(null=True, blank=True)
    # The time of the newest code that was used, in steps of 30 s: none counts twice.
    last_step = models.BigIntegerField(default=0)
    # Codes for the app's loss, each for one login: SHA-256, in hexadecimal.
    spare_hashes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"second factor of {self.user_id}"


class LoginFailure(models.Model):
    """How often a login failed lately, for one user name or one source address."""

    # A digest: what people type where the name belongs is sometimes their password.
    key = models.CharField(primary_key=True, max_length=80)
    failures = models.IntegerField(default=0)
    last_at = models.DateTimeField()
    blocked_until = models.DateTimeField()
    # Attempts turned away since the last one that counted.
    turned_away = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.key}: {self.failures}"


class AuditOutcome(models.TextChoices):
    """How an operation ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class AppendOnly(TypeError):
    """The audit trail was to be changed: a defect in Dozo, which is stopped here."""

    def __init__(self) -> None:
        super().__init__("the audit trail is only ever added to")


class _AuditQuerySet(models.QuerySet[Any]):
    """Rows that can be added and read."""

    def update(self, **_values: Any) -> int:
        raise AppendOnly

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnly

    def bulk_update(self, *_args: Any, **_options: Any) -> int:
        raise AppendOnly


class AuditEntry(models.Model):
    """One line of the audit trail; ``hash`` covers every column and the hash before it."""

    sequence = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    actor = models.CharField(max_length=300)
    tenant = models.CharField(max_length=200, blank=True, default="", db_index=True)
    operation = models.CharField(max_length=64)
    object_kind = models.CharField(max_length=32, blank=True, default="")
    object_id = models.CharField(max_length=255, blank=True, default="")
    object_name = models.CharField(max_length=255, blank=True, default="")
    outcome = models.CharField(max_length=8, choices=AuditOutcome.choices)
    detail = models.JSONField(default=dict)
    source = models.CharField(max_length=64, blank=True, default="")
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    objects: ClassVar = _AuditQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["sequence"]

    def __str__(self) -> str:
        return f"{self.sequence} {self.actor} {self.operation} {self.outcome}"

    def save(self, *args: Any, **options: Any) -> None:
        """Add the entry; one that is there is never written again."""
        if not self._state.adding:
            raise AppendOnly
        options["force_insert"] = True
        super().save(*args, **options)

    def delete(self, *_args: Any, **_options: Any) -> tuple[int, dict[str, int]]:
        """Never."""
        raise AppendOnly


class AuditHead(models.Model):
    """Where the trail ends: one row, which also orders writers and shows a cut-off end."""

    number = models.IntegerField(primary_key=True, default=1)
    sequence = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, default="0" * 64)

    def __str__(self) -> str:
        return str(self.sequence)
