"""Addresses: tenants, users, policies."""

from django.urls import path

from dozo.console.people import policy, tenants, users

urlpatterns = [
    path("tenants", tenants.tenants, name="tenants"),
    path("tenants/new", tenants.new, name="tenants-new"),
    path("tenants/assign", tenants.assign, name="tenants-assign"),
    path("tenants/<str:name>", tenants.tenant, name="tenant"),
    path("tenants/<str:name>/disable", tenants.disable, name="tenant-disable"),
    path("tenants/<str:name>/policy", policy.edit, name="tenant-policy"),
    path("users", users.users, name="users"),
    path("users/new", users.new, name="users-new"),
    path("users/<str:name>", users.user, name="user"),
    path("users/<str:name>/disable", users.disable, name="user-disable"),
    path("users/<str:name>/password", users.password, name="user-password"),
    path("users/<str:name>/second-factor", users.reset_factor, name="user-factor-reset"),
    path("users/<str:name>/tokens/<str:prefix>", users.revoke, name="user-token-revoke"),
]
