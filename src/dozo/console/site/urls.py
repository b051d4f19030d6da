"""Addresses: sites, vaults, settings: running a site."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
