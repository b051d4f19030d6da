"""Addresses: one's own account."""

from django.urls import path

from dozo.console.account import factor, tokens, views

urlpatterns = [
    path("account", views.account, name="account"),
    path("account/password", views.password, name="account-password"),
    path("account/second-factor", factor.set_up, name="account-factor"),
    path("account/second-factor/remove", factor.remove, name="account-factor-remove"),
    path("account/sessions/<str:prefix>/end", views.end_session, name="account-session-end"),
    path("account/sessions/end-others", views.end_others, name="account-sessions-end"),
    path("account/tokens", tokens.tokens, name="account-tokens"),
    path("account/tokens/<str:prefix>/revoke", tokens.revoke, name="account-token-revoke"),
]
