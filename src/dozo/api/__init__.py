"""The REST API, ``/api/v1``: a face of the services, in which no rule lives."""

from dozo.catalog.store import set_up_django

set_up_django()

from dozo.api.face import FACE  # noqa: E402  needs the settings

__all__ = ["FACE"]
