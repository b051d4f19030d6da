"""Snapshots as image files: /snapshots/{ref}/download."""

from typing import Literal

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Query, Router
from pydantic import Field

from dozo.api.current import scope_of
from dozo.api.routes import Body, needs
from dozo.services.access import Operation
from dozo.web import downloads

router = Router()

_RANGE_HEADERS = (
    {
        "in": "header",
        "name": "Range",
        "required": False,
        "schema": {"type": "string", "maxLength": 255},
        "description": "`bytes=N-`: only from there on, answered with 206.",
    },
    {
        "in": "header",
        "name": "If-Range",
        "required": False,
        "schema": {"type": "string", "maxLength": 255},
        "description": "The ETag of what is there already; if it is another one, all is sent.",
    },
)
_FILE = {
    "responses": {
        status: {
            "description": text,
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
        for status, text in ((200, "The image file."), (206, "The rest of it."))
    }
}


class DownloadQuery(Body):
    """As what."""

    format: Literal["raw", "qcow2"] = Field(
        "qcow2", description="qcow2 holds only what is stored, raw all zeros too."
    )


@router.get(
    "/snapshots/{ref}/download",
    response={200: None, 206: None},
    openapi_extra={
        **needs(Operation.SNAPSHOT_RESTORE_FILE, *_RANGE_HEADERS)["openapi_extra"],
        **_FILE,
    },
)
def download_snapshot(
    request: HttpRequest, ref: str, query: Query[DownloadQuery]
) -> StreamingHttpResponse:
    """Download a snapshot as an image file; every chunk is checked on the way."""
    return downloads.answer(request, scope_of(request), ref, format=query.format)
