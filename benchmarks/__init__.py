"""Measures Dozo beside public tools and a bare loop, on the same data in the same run."""
