"""Addresses: schedules: when what is snapshotted, and what stays."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
