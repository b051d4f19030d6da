"""The Admin Console: pages over the services, in which no rule lives.

Each part (``shell``, ``overview``, ``servers``…) has its own addresses, views, templates and
translations. ``shell`` is what all pages stand in.
"""

from dozo.catalog.store import set_up_django

set_up_django()

from dozo.console.face import FACE  # noqa: E402  needs the settings

__all__ = ["FACE"]
