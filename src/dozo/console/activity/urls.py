"""Addresses: jobs and the audit trail."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
