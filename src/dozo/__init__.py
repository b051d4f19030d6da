"""Dozo: volume backup and disaster recovery for KVM servers."""

__version__ = "0.1.0"
