"""Addresses of the first page."""

from django.urls import path

from dozo.console.overview import views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("attention/verify", views.verify, name="attention-verify"),
    path("attention/repair", views.repair, name="attention-repair"),
]
