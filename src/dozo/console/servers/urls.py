"""Addresses: servers and volumes."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
