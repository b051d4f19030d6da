"""Addresses of the first page."""

from django.urls import path

from dozo.console.overview import views

urlpatterns = [path("", views.overview, name="overview")]
