"""Servers and volumes."""
