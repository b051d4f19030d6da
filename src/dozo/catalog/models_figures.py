"""What was measured, a row a day: how much the vault held. Sizes are bytes, times UTC."""

from typing import ClassVar

from django.db import models


class VaultFigure(models.Model):
    """How much the vault held on a day, by the last look at it on that day."""

    day = models.DateField(primary_key=True)
    at = models.DateTimeField()
    bytes_stored = models.BigIntegerField()
    bytes_protected = models.BigIntegerField()
    # Not known for a vault that is no directory.
    bytes_free = models.BigIntegerField(null=True, blank=True)
    snapshots = models.BigIntegerField()

    class Meta:
        ordering: ClassVar = ["day"]

    def __str__(self) -> str:
        return f"{self.day}: {self.bytes_stored} bytes"
