"""Addresses: snapshots, recovery points and templates."""

from django.urls import path

from dozo.console.snapshots import views

urlpatterns = [
    path("snapshots", views.snapshots, name="snapshots"),
]
