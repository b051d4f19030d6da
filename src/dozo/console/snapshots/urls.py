"""Addresses: snapshots, recovery points and templates."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
