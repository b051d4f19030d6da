"""Fixtures: catalogs of two sizes."""

from tests.services.conftest import _catalogs_allowed, dr, main, pair

__all__ = ["_catalogs_allowed", "dr", "main", "pair"]
