"""Addresses of what every visitor needs: coming in, going out, preferences."""

from django.urls import path

from dozo.console.shell import views

urlpatterns = [
    path("login", views.log_in, name="login"),
    path("login/code", views.log_in_code, name="login-code"),
    path("logout", views.log_out, name="logout"),
    path("preferences", views.preferences, name="preferences"),
]
