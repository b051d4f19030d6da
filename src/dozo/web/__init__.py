"""What the REST API and the Admin Console stand on: one application, its limits and headers."""

from dozo.web.asgi import Face, application
from dozo.web.current import Current

__all__ = ["Current", "Face", "application"]
