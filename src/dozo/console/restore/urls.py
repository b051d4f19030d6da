"""Addresses: giving data back, step by step."""

from django.urls import path

from dozo.console.restore import attach, in_place, steps, views, whole

urlpatterns = [
    path("restore", views.start, name="restore"),
    path("restore/server", whole.server, name="restore-server"),
    path("restore/template", steps.template, name="restore-template"),
    path("restore/new-server", steps.new_server, name="restore-new-server"),
    path("restore/volumes", steps.volumes, name="restore-volumes"),
    path("restore/attach", attach.attach, name="restore-attach"),
    path("restore/start", attach.start, name="restore-start"),
    path("restore/in-place", in_place.in_place, name="restore-in-place"),
]
