"""Addresses: how to use the service."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
