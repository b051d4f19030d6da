"""Giving data back, step by step."""
