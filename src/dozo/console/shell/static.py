"""Style, script and pictures: read once, served under the hash of what they hold."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import django_htmx
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound

_FOLDER = Path(__file__).parents[1] / "static"
_HTMX = Path(django_htmx.__file__).parent / "static" / "django_htmx" / "htmx-2.min.js"
_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css"}
_CACHE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, kw_only=True)
class _File:
    version: str
    media_type: str
    body: bytes
    zipped: bytes


@cache
def _files() -> dict[str, _File]:
    paths = {str(path.relative_to(_FOLDER)): path for path in _FOLDER.rglob("*") if path.is_file()}
    return {name: _read(path) for name, path in {**paths, "htmx.js": _HTMX}.items()}


def _read(path: Path) -> _File:
    body = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return _File(
        version=hashlib.sha256(body).hexdigest()[:12],
        media_type=kind or "application/octet-stream",
        body=body,
        zipped=gzip.compress(body, mtime=0),
    )


def address(name: str) -> str:
    """Where a file is served. Raises ``KeyError`` for one that is not there."""
    return f"/static/{_files()[name].version}/{name}"


def static(request: HttpRequest, version: str, name: str) -> HttpResponse:
    """One file; an address with an older hash gets what there is now, and keeps it not."""
    found = _files().get(name)
    if found is None or request.method not in {"GET", "HEAD"}:
        return HttpResponseNotFound()
    zipped = "gzip" in request.headers.get("Accept-Encoding", "")
    response = HttpResponse(found.zipped if zipped else found.body, content_type=found.media_type)
    if zipped:
        response["Content-Encoding"] = "gzip"
    response["Vary"] = "Accept-Encoding"
    response["Cache-Control"] = _CACHE if version == found.version else "no-store"
    return response
