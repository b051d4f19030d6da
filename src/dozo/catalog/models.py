"""The tables of the catalog.

Everything in them is either found on the hypervisor (servers, volumes) or read from a vault
(snapshots, recovery points, templates, copies), so that a lost database costs nothing that
is needed to restore. Sizes are bytes, times are UTC.
"""

import uuid
from typing import ClassVar

from django.db import models

from dozo.catalog.models_access import (
    AuditEntry,
    AuditHead,
    AuditOutcome,
    LoginFailure,
    RoleChoice,
    SecondFactor,
    Token,
    User,
)
from dozo.catalog.models_figures import VaultFigure
from dozo.catalog.models_jobs import Job, JobLine, Schedule, ScheduleRun, Turn
from dozo.catalog.models_notify import Incident, Notice
from dozo.model import clock, states

__all__ = [
    "AssignedBy",
    "AuditEntry",
    "AuditHead",
    "AuditOutcome",
    "Copy",
    "CopyState",
    "Incident",
    "Job",
    "JobLine",
    "LoginFailure",
    "Notice",
    "RecoveryPoint",
    "RoleChoice",
    "Schedule",
    "ScheduleRun",
    "SecondFactor",
    "Server",
    "Site",
    "Snapshot",
    "Template",
    "Tenant",
    "Token",
    "Turn",
    "User",
    "VaultFigure",
    "Volume",
    "VolumeState",
]


class CopyState(models.TextChoices):
    """``dozo.model.states.Copy``; *missing* is a row as well, so that it can be shown."""

    MISSING = states.Copy.MISSING.value
    COPYING = states.Copy.COPYING.value
    STORED = states.Copy.STORED.value
    VERIFIED = states.Copy.VERIFIED.value
    DAMAGED = states.Copy.DAMAGED.value


class VolumeState(models.TextChoices):
    """Where a volume is."""

    ATTACHED = "attached"
    UNATTACHED = "unattached"
    CREATING = "creating"
    GONE = "gone"


class AssignedBy(models.TextChoices):
    """How a server came to its tenant."""

    DEFAULT = "default"
    METADATA = "metadata"
    HAND = "hand"
    # Dozo made it, of volumes that it restored for that tenant.
    RESTORED = "restored"


class Site(models.Model):
    """This site, its peers, and any site that only snapshots name."""

    site_id = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=200)
    is_self = models.BooleanField(default=False)
    vault_url = models.TextField(blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-is_self", "name"]

    def __str__(self) -> str:
        return self.name


class Tenant(models.Model):
    """Who owns servers and snapshots."""

    name = models.CharField(unique=True, max_length=200)
    # A preset's name and what differs from it: {setting: value}.
    policy = models.CharField(max_length=32, default="modern")
    policy_overrides = models.JSONField(default=dict, blank=True)
    # What was there before does not count towards the policy's number of generations.
    generations_lowered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now)
    # Nobody of a disabled tenant gets in; what it has stays protected and stored.
    disabled = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Server(models.Model):
    """A libvirt domain, here now or known from snapshots. Its identity is the UUID."""

    uuid = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=255)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="servers")
    present = models.BooleanField(default=False)
    state = models.CharField(max_length=32, blank=True, default="")
    tracking = models.CharField(max_length=8, default=states.Tracking.AUTO.value)
    # By hand and by a restore outrank what the domain's metadata says.
    assigned_by = models.CharField(
        max_length=8, choices=AssignedBy.choices, default=AssignedBy.DEFAULT.value
    )
    # What schedules select by: those given by hand and those in the domain's metadata.
    tags = models.JSONField(default=list, blank=True)
    cpus = models.PositiveIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    tags_by_hand = models.JSONField(default=list, blank=True)

    class Meta:
        ordering: ClassVar = ["name", "uuid"]

    def __str__(self) -> str:
        return self.name


class Volume(models.Model):
    """A virtual disk: attached to a server, to none, or known only from its snapshots."""

    volume_id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=255)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="volumes")
    server = models.ForeignKey(
        Server, null=True, blank=True, on_delete=models.SET_NULL, related_name="volumes"
    )
    state = models.CharField(
        max_length=16, choices=VolumeState.choices, default=VolumeState.UNATTACHED
    )
    # While unattached these keep what the volume had last: attach proposes it again.
    device = models.CharField(max_length=32, blank=True, default="")
    bus = models.CharField(max_length=32, blank=True, default="")
    serial = models.CharField(max_length=255, blank=True, default="")
    is_root = models.BooleanField(default=False)
    path = models.TextField(blank=True, default="")
    format = models.CharField(max_length=16, blank=True, default="")
    bytes_volume = models.BigIntegerField(null=True, blank=True)
    created_here = models.BooleanField(default=False)
    origin_snapshot = models.CharField(max_length=64, blank=True, default="")
    restoring_snapshot = models.CharField(max_length=64, blank=True, default="")
    safety_snapshot = models.CharField(max_length=64, blank=True, default="")
    excluded_reason = models.TextField(blank=True, default="")

    class Meta:
        ordering: ClassVar = ["server__name", "device", "name"]

    def __str__(self) -> str:
        return self.name


class RecoveryPoint(models.Model):
    """Snapshots of a server's volumes at one instant, as their facts describe it."""

    recovery_point_id = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=255)
    server = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="recovery_points")
    created_at = models.DateTimeField()
    # [{"volume_id", "device"}] and [{"device", "reason"}], as in the facts of every member
    members = models.JSONField(default=list)
    left_out = models.JSONField(default=list)

    class Meta:
        ordering: ClassVar = ["-created_at", "recovery_point_id"]
        indexes: ClassVar = [
            models.Index(fields=["-created_at"], name="point_by_age"),
            models.Index(fields=["server", "-created_at"], name="point_by_server"),
        ]

    def __str__(self) -> str:
        return self.name


class SnapshotRow(models.Model):
    """What snapshots and templates have in common: one root in a vault."""

    snapshot_id = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=255)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT)
    origin_site = models.ForeignKey(Site, on_delete=models.PROTECT)
    created_at = models.DateTimeField()
    bytes_volume = models.BigIntegerField()
    # False while this site has no key to the facts: it can hold and copy it, not restore it.
    readable = models.BooleanField(default=True)
    facts = models.JSONField(default=dict)
    deleted_at = models.DateTimeField(null=True, blank=True)
    deleted_reason = models.CharField(max_length=32, blank=True, default="")

    class Meta:
        abstract = True
        ordering: ClassVar = ["-created_at", "name", "snapshot_id"]

    def __str__(self) -> str:
        return self.name


def _present(fields: list[str], name: str) -> models.Index:
    """An index of what was not deleted."""
    return models.Index(fields=fields, name=name, condition=models.Q(deleted_at=None))


class Snapshot(SnapshotRow):
    """One volume at one instant."""

    volume = models.ForeignKey(
        Volume, null=True, blank=True, on_delete=models.PROTECT, related_name="snapshots"
    )
    server = models.ForeignKey(
        Server, null=True, blank=True, on_delete=models.PROTECT, related_name="snapshots"
    )
    recovery_point = models.ForeignKey(
        RecoveryPoint, null=True, blank=True, on_delete=models.PROTECT, related_name="snapshots"
    )
    is_root = models.BooleanField(default=False)
    mode = models.CharField(max_length=16, blank=True, default="")
    consistency = models.CharField(max_length=32, blank=True, default="")
    full_reason = models.TextField(blank=True, default="")
    parent_id = models.CharField(max_length=64, blank=True, default="")
    scheduled = models.BooleanField(default=False)
    schedule_id = models.CharField(max_length=32, blank=True, default="")
    # Known only to the site and catalog that took it; a rebuilt catalog shows them as unknown.
    bytes_read = models.BigIntegerField(null=True, blank=True)
    bytes_stored = models.BigIntegerField(null=True, blank=True)

    class Meta(SnapshotRow.Meta):
        indexes: ClassVar = [
            # What is there, newest first: of a volume and a server, and lists with their totals.
            _present(["volume", "-created_at"], "snapshot_there_by_volume"),
            _present(["server", "-created_at"], "snapshot_there_by_server"),
            _present(["tenant", "-created_at"], "snapshot_there_by_tenant"),
            _present(["-created_at"], "snapshot_there_by_age"),
        ]


class Template(SnapshotRow):
    """Made from a root volume's snapshot; stands on its own."""

    source_snapshot = models.CharField(max_length=64, blank=True, default="")


class Copy(models.Model):
    """The state of one snapshot or template at one site."""

    snapshot_id = models.CharField(max_length=64)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="copies")
    state = models.CharField(max_length=16, choices=CopyState.choices, default=CopyState.MISSING)
    # When this site first saw it there, by this site's clock.
    received_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    oldest_reading_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["snapshot_id", "site"], name="one_copy_a_site")
        ]
        indexes: ClassVar = [models.Index(fields=["state", "site"], name="copy_by_state")]

    def __str__(self) -> str:
        return f"{self.snapshot_id} at {self.site_id}: {self.state}"
