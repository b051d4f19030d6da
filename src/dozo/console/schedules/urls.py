"""Addresses: schedules: when what is snapshotted, and what stays."""

from django.urls import path

from dozo.console.schedules import edit, months, views

urlpatterns = [
    path("schedules", views.listed, name="schedules"),
    path("schedules/new", edit.new, name="schedule-new"),
    path("schedules/preview", edit.preview, name="schedule-preview"),
    path("schedules/calendar", months.month, name="schedule-calendar"),
    path("schedules/<str:ref>", views.shown, name="schedule"),
    path("schedules/<str:ref>/edit", edit.edit, name="schedule-edit"),
    path("schedules/<str:ref>/enabled", views.enabled, name="schedule-enabled"),
    path("schedules/<str:ref>/run", views.run, name="schedule-run"),
    path("schedules/<str:ref>/delete", views.delete, name="schedule-delete"),
]
