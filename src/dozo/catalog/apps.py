"""Django's handle on the catalog."""

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    """The one Django application of Dozo so far."""

    name = "dozo.catalog"
    label = "catalog"
    default_auto_field = "django.db.models.BigAutoField"
