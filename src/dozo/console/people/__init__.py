"""Tenants, users, policies."""
