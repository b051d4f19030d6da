"""Texts of others on a terminal or in a log: without what would act instead of being read."""

import re

# Control characters but line ends and tabs, and what turns the direction of writing.
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """``text`` with a mark in the place of each such character."""
    return _ACTING.sub("\N{REPLACEMENT CHARACTER}", text)
