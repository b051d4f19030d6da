"""Addresses of what every visitor needs: coming in, going out, preferences."""

from django.urls import path

from dozo.console.shell import views

urlpatterns = [
    path("login", views.log_in, name="login"),
    path("login/code", views.log_in_code, name="login-code"),
    path("login/oidc", views.log_in_elsewhere, name="login-oidc"),
    path("login/oidc/back", views.back_from_elsewhere, name="login-oidc-back"),
    path("logout", views.log_out, name="logout"),
    path("preferences", views.preferences, name="preferences"),
]
