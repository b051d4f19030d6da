"""Addresses: jobs and the audit trail."""

from django.urls import path

from dozo.console.activity import jobs, trail

urlpatterns = [
    path("jobs", jobs.jobs, name="jobs"),
    path("jobs/<str:job_id>", jobs.job, name="job"),
    path("jobs/<str:job_id>/log", jobs.log, name="job-log"),
    path("jobs/<str:job_id>/cancel", jobs.cancel, name="job-cancel"),
    path("jobs/<str:job_id>/again", jobs.again, name="job-again"),
    path("audit", trail.trail, name="audit"),
    path("audit/export", trail.export, name="audit-export"),
    path("audit/verify", trail.verify, name="audit-verify"),
    path("audit/<int:sequence>", trail.entry, name="audit-entry"),
]
