"""Schedules: when what is snapshotted, and what stays."""
