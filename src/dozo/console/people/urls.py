"""Addresses: tenants, users, policies."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
