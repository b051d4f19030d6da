"""What was told to people, and what is still to be told.

An incident is told once to each address, and once more when it is over. Addresses stand here as
hashes only: they may hold passwords.
"""

from typing import ClassVar

from django.db import models


class Incident(models.Model):
    """Something that somebody should know; open while ``closed_at`` is None."""

    # What it is about, the same for as long as it lasts, such as "peer-behind:dr".
    key = models.CharField(max_length=200)
    kind = models.CharField(max_length=32)
    title = models.CharField(max_length=255)
    text = models.TextField(blank=True, default="")
    # How bad it is, in the terms of its kind; people are told again when it gets worse.
    size = models.IntegerField(default=0)
    opened_at = models.DateTimeField()
    told_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-opened_at", "key"]
        indexes: ClassVar = [models.Index(fields=["key", "-opened_at"], name="incident_by_key")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["key"],
                condition=models.Q(closed_at=None),
                name="one_open_incident_a_key",
            )
        ]

    def __str__(self) -> str:
        return self.title


class Notice(models.Model):
    """One message about an incident to one address; deleted with what it is about."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="notices")
    address = models.CharField(max_length=64)
    title = models.CharField(max_length=255)
    text = models.TextField(blank=True, default="")
    # bad, good
    tone = models.CharField(max_length=8)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True, default="")

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["sent_at", "next_at"], name="notice_to_send")]

    def __str__(self) -> str:
        return self.title
