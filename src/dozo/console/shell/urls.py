"""Addresses of what every visitor needs: coming in, going out, preferences."""

from django.urls import path

from dozo.console.shell import views

urlpatterns = [
    path("login", views.log_in, name="login"),
    path("logout", views.log_out, name="logout"),
    path("preferences", views.preferences, name="preferences"),
]
