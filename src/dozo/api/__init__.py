"""The REST API, ``/api/v1``: a face of the services, in which no rule lives."""

from dozo.api.asgi import application
from dozo.api.current import Current

__all__ = ["Current", "application"]
