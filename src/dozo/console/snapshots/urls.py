"""Addresses: snapshots, recovery points and templates."""

from django.urls import path

from dozo.console.snapshots import actions, points, template_pages, views

urlpatterns = [
    path("snapshots", views.snapshots, name="snapshots"),
    path("snapshots/chosen", actions.chosen, name="snapshots-chosen"),
    path("snapshots/delete", actions.delete, name="snapshots-delete"),
    path("snapshots/<str:ref>", views.snapshot, name="snapshot"),
    path("snapshots/<str:ref>/hold", actions.hold, name="snapshot-hold"),
    path("snapshots/<str:ref>/download", actions.download, name="snapshot-download"),
    path("recovery-points", points.points, name="recovery-points"),
    path("recovery-points/<str:ref>", points.point, name="recovery-point"),
    path("recovery-points/<str:ref>/delete", points.delete, name="recovery-point-delete"),
    path("recovery-points/<str:ref>/do", points.do, name="recovery-point-do"),
    path("templates", template_pages.templates, name="templates"),
    path("templates/<str:ref>", template_pages.template, name="template"),
    path("templates/<str:ref>/delete", template_pages.delete, name="template-delete"),
]
