"""Templates: one engine for all parts of the console, apart from Django's own settings."""

from functools import cache
from pathlib import Path
from typing import Any

from django.http import HttpRequest
from django.template.backends.django import DjangoTemplates

_CONSOLE = Path(__file__).parents[1]


@cache
def _engine() -> DjangoTemplates:
    return DjangoTemplates(
        {
            "NAME": "console",
            "DIRS": sorted(_CONSOLE.glob("*/templates")),
            "APP_DIRS": False,
            "OPTIONS": {
                "autoescape": True,
                "context_processors": ["django.template.context_processors.request"],
                "builtins": [
                    "django.templatetags.i18n",
                    "django.templatetags.tz",
                    "dozo.console.shell.tags",
                ],
                "string_if_invalid": "",
            },
        }
    )


def rendered(name: str, context: dict[str, Any], request: HttpRequest) -> str:
    """A template as text."""
    return str(_engine().get_template(name).render({"request": request, **context}, request))
