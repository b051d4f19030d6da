"""The tables of the service: jobs with their logs, schedules with their runs.

Jobs and runs are this site's own affairs and die with its database; what must survive is in
the vault. Times are UTC, sizes are bytes.
"""

import uuid
from typing import ClassVar

from django.db import models

from dozo.model.job_states import JobState
from dozo.model.message import from_json
from dozo.model.words import word


def new_id() -> str:
    return uuid.uuid4().hex


class Job(models.Model):
    """One durable run of one operation."""

    job_id = models.CharField(primary_key=True, max_length=32, default=new_id)
    kind = models.CharField(max_length=64)
    title = models.CharField(max_length=255)
    # Texts for people are English, for whoever looks into the database; beside each stands, as
    # `dozo.model.message` stores it, what it takes to say it in every language.
    title_told = models.JSONField(null=True, blank=True)
    tenant = models.ForeignKey(
        "catalog.Tenant", null=True, blank=True, on_delete=models.CASCADE, related_name="jobs"
    )
    actor = models.CharField(max_length=255)
    # Who may make another job's worth of the same request: see Job.Meta.constraints.
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    # Of the request as it came: the same key with another request is a mistake.
    request_digest = models.CharField(max_length=64, blank=True, default="")
    params = models.JSONField(default=dict)
    # What no two running jobs may hold at the same time, such as "server:UUID".
    locks = models.JSONField(default=list)
    lane = models.CharField(max_length=16, default="work")
    object_kind = models.CharField(max_length=32, blank=True, default="")
    object_id = models.CharField(max_length=64, blank=True, default="")
    object_name = models.CharField(max_length=255, blank=True, default="")
    run = models.ForeignKey(
        "catalog.ScheduleRun", null=True, blank=True, on_delete=models.SET_NULL, related_name="jobs"
    )

    state = models.CharField(
        max_length=16, choices=[(one.value, one.value) for one in JobState], default=JobState.QUEUED
    )
    created_at = models.DateTimeField()
    not_before = models.DateTimeField(null=True, blank=True)
    # Not begun by then, it fails: the window of what it was asked for is over.
    not_after = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    # The attempt under way or to come; each is a workflow of its own, named "JOB.ATTEMPT".
    attempt = models.PositiveIntegerField(default=0)
    # Handed to the runner; set in the transaction that counts the job as running.
    dispatched_at = models.DateTimeField(null=True, blank=True)
    # How often this attempt was begun; more than once means that a process died under it.
    executions = models.PositiveIntegerField(default=0)
    stuck_since = models.DateTimeField(null=True, blank=True)
    beat_at = models.DateTimeField(null=True, blank=True)
    cancel_asked_at = models.DateTimeField(null=True, blank=True)

    step = models.TextField(blank=True, default="")
    step_told = models.JSONField(null=True, blank=True)
    # What is known before the end, such as "instant_at".
    facts = models.JSONField(default=dict)
    bytes_total = models.BigIntegerField(null=True, blank=True)
    bytes_done = models.BigIntegerField(default=0)
    result = models.JSONField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True, default="")
    error_text = models.TextField(blank=True, default="")
    error_hint = models.TextField(blank=True, default="")
    error_told = models.JSONField(null=True, blank=True)
    hint_told = models.JSONField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "job_id"]
        indexes: ClassVar = [
            models.Index(fields=["state", "created_at"], name="job_by_state"),
            models.Index(fields=["tenant", "-created_at"], name="job_by_tenant"),
            models.Index(fields=["object_id", "-created_at"], name="job_by_object"),
            models.Index(fields=["-created_at"], name="job_by_age"),
            models.Index(fields=["state", "finished_at"], name="job_by_end"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["actor", "idempotency_key"], name="one_job_a_key")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.job_id[:12]}"

    @property
    def title_said(self) -> str:
        """The title, a message where one was stored."""
        return from_json(self.title_told, self.title)

    @property
    def step_said(self) -> str:
        """What it does now, likewise."""
        return from_json(self.step_told, self.step)

    @property
    def error_said(self) -> str:
        """Why it failed, likewise."""
        return from_json(self.error_told, self.error_text)

    @property
    def hint_said(self) -> str:
        """What to do about it, likewise."""
        return from_json(self.hint_told, self.error_hint)


class JobLine(models.Model):
    """One line of a job's log, for people."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="lines")
    at = models.DateTimeField()
    text = models.TextField()
    told = models.JSONField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.text

    @property
    def said(self) -> str:
        """The line, a message where one was stored."""
        return from_json(self.told, self.text)


class Schedule(models.Model):
    """When to snapshot what, how, and how many generations to keep."""

    schedule_id = models.CharField(primary_key=True, max_length=32, default=new_id)
    name = models.CharField(max_length=200)
    tenant = models.ForeignKey("catalog.Tenant", on_delete=models.PROTECT, related_name="schedules")
    enabled = models.BooleanField(default=True)
    # "volume" and "server" name one by its id, "tag" every server of the tenant that bears it.
    target_kind = models.CharField(max_length=16)
    target = models.CharField(max_length=255)
    mode = models.CharField(max_length=32, default="live")
    freeze = models.BooleanField(default=True)
    stated_unmounted = models.BooleanField(default=False)
    stop_timeout_seconds = models.PositiveIntegerField(default=300)
    force_stop = models.BooleanField(default=False)
    hook_before = models.CharField(max_length=64, blank=True, default="")
    hook_after = models.CharField(max_length=64, blank=True, default="")
    hook_timeout_seconds = models.PositiveIntegerField(default=60)
    # The JSON forms of dozo.model.schedule_times.Timing and dozo.model.retention.Keep
    timing = models.JSONField(default=dict)
    keep = models.JSONField(default=dict)
    # What peers keep; the same as here where it is empty.
    keep_peer = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=1)
    # The last planned time that was decided about, and the one to come.
    decided_until = models.DateTimeField()
    next_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["name", "schedule_id"]
        indexes: ClassVar = [models.Index(fields=["enabled", "next_at"], name="schedule_by_next")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "name"],
                condition=models.Q(deleted_at=None),
                name="one_schedule_a_name",
            )
        ]

    def __str__(self) -> str:
        return self.name


class ScheduleRun(models.Model):
    """What became of one planned time of a schedule, for one server or volume."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="runs")
    planned_at = models.DateTimeField()
    # "server:UUID" or "volume:UUID"; empty where nothing was covered.
    target = models.CharField(max_length=64)
    # started, skipped
    outcome = models.CharField(max_length=16)
    reason = models.TextField(blank=True, default="")
    reason_told = models.JSONField(null=True, blank=True)
    decided_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-planned_at", "target"]
        indexes: ClassVar = [
            models.Index(fields=["schedule", "target", "-planned_at"], name="run_by_target")
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["schedule", "planned_at", "target"], name="one_run_a_planned_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.schedule_id} at {self.planned_at}: {self.outcome}"

    @property
    def reason_said(self) -> str:
        """Why it was skipped, in words."""
        return from_json(self.reason_told, word("skipped", self.reason))


class Turn(models.Model):
    """A row to lock: whoever dispatches jobs or runs the schedules has it for the time being."""

    name = models.CharField(primary_key=True, max_length=32)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name
