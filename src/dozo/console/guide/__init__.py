"""How to use the service."""
