"""Snapshots, recovery points and templates."""
