"""Django's settings for the catalog: no project, no secrets, a database at the site's home.

The default database is the catalog of ``$DOZO_HOME``; without that variable it is in memory,
which is what type checkers and ``makemigrations`` need. Sites open their own database by path
(:meth:`dozo.catalog.store.Catalog.open`).
"""

import os
from pathlib import Path
from typing import Any

CATALOG_NAME = "catalog.sqlite3"


def sqlite_database(path: str) -> dict[str, Any]:
    """The connection settings of one SQLite catalog; ``path`` may be ``:memory:``.

    WAL lets readers go on while one process writes. IMMEDIATE transactions wait for a
    writer instead of failing half-way.
    """
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
        },
    }


_home = os.environ.get("DOZO_HOME")

DATABASES = {"default": sqlite_database(str(Path(_home) / CATALOG_NAME) if _home else ":memory:")}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "dozo.catalog",
]
AUTH_USER_MODEL = "catalog.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("username", "display_name", "email")},
    },
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AUTHENTICATION_BACKENDS: list[str] = []
# The console's words: one catalog for each part of it, beside that part.
LANGUAGES = [("en", "English"), ("ja", "日本語")]
LANGUAGE_CODE = "en"
USE_I18N = True
LOCALE_PATHS = sorted(Path(__file__).parents[1].glob("console/*/locale"))
# Whoever makes an address for a link makes it without the host.
ALLOWED_HOSTS = ["*"]
CSRF_COOKIE_NAME = "dozo_csrf"
CSRF_COOKIE_AGE = None
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
# The faces set the addresses of each request by themselves; Django wants a default.
ROOT_URLCONF = "dozo.api.urls"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Nothing here signs anything; sessions will bring a key of their own, kept in the home.
SECRET_KEY = "catalog-only"  # noqa: S105
