"""The API put together: its operations, its errors, its description."""

import re
from functools import cache
from http import HTTPStatus
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Router
from ninja.errors import HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation as Endpoint

import dozo
from dozo.api import (
    audit,
    downloads,
    jobs,
    problems,
    recovery_points,
    schedules,
    servers,
    session,
    site,
    snapshots,
    templates,
    tenants,
    users,
    volumes,
)
from dozo.api.auth import Bearer
from dozo.api.problems import MEDIA_TYPE, Problem
from dozo.api.render import JsonParser, JsonRenderer, to_json
from dozo.model.errors import DozoError

_ABOUT = (
    "Volume backup and disaster recovery for KVM servers. docs/api.md describes the conventions."
)
_ROUTERS: tuple[tuple[str, Router], ...] = (
    ("session", session.router),
    ("servers", servers.router),
    ("volumes", volumes.router),
    ("snapshots", snapshots.router),
    ("snapshots", downloads.router),
    ("recovery-points", recovery_points.router),
    ("templates", templates.router),
    ("schedules", schedules.router),
    ("jobs", jobs.router),
    ("site", site.router),
    ("tenants", tenants.router),
    ("users", users.router),
    ("audit", audit.router),
)


class _Api(NinjaAPI):
    """ninja's API whose operations are called as their functions are."""

    def get_openapi_operation_id(self, operation: Endpoint) -> str:
        return operation.view_func.__name__

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """The description, with every error that an operation can answer with."""
        schema = super().get_openapi_schema(**options)
        components = schema["components"]
        components["schemas"]["Problem"] = Problem.model_json_schema(
            ref_template="#/components/schemas/{model}"
        )
        components["responses"] = {
            _name(status): {
                "description": HTTPStatus(status).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
            for status in problems.ALL_STATUSES
        }
        for operations in schema["paths"].values():
            for operation in operations.values():
                for status in problems.ALL_STATUSES:
                    if status != 405:
                        operation["responses"].setdefault(
                            status, {"$ref": f"#/components/responses/{_name(status)}"}
                        )
        return schema


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _build() -> NinjaAPI:
    made = _Api(
        title="Dozo",
        version=dozo.__version__,
        description=_ABOUT,
        openapi_url=None,
        docs_url=None,
        urls_namespace="api",
        auth=Bearer(),
        renderer=JsonRenderer(),
        parser=JsonParser(),
    )
    handlers: dict[type[Exception], Any] = {
        DozoError: problems.of_error,
        ValidationError: problems.of_invalid,
        HttpError: problems.of_http_error,
        Http404: problems.of_missing,
        Exception: problems.of_unexpected,
    }
    for kind, handler in handlers.items():
        made.add_exception_handler(kind, handler)
    for tag, router in _ROUTERS:
        made.add_router("", router, tags=[tag])
    return made


api = _build()


@cache
def description() -> str:
    """The OpenAPI document, as text."""
    text = to_json(api.get_openapi_schema(path_prefix="/api/v1/"))
    # What generated clients call a page of servers is "ServerViewPage".
    return re.sub(r'Page_(\w+?)_(?=")', r"\1Page", text)


def openapi(request: HttpRequest) -> HttpResponse:
    """The description of the API, OpenAPI 3.1; anybody may read it."""
    if request.method != "GET":
        return HttpResponse(status=405, headers={"Allow": "GET"})
    return HttpResponse(description(), content_type="application/json")
