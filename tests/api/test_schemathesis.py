"""The whole description against the API, with made-up requests, as everybody.

``DOZO_API_EXAMPLES=200`` makes that many requests an operation; a few, unless set.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.services.support import make_site

from dozo.api.root import description

from .support import World, make_world
from .test_endpoints import furnished, session_for

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EXAMPLES = int(os.environ.get("DOZO_API_EXAMPLES", "0"))
# Whoever may do more is asked more.
FEW = {"operator": 5, "alice": 3, "adam": 1, "auditor": 1, "nobody": 1}
# They would lock the asker out, or take what others are asked about.
HARMFUL = {"logout", "set_user_password", "disable_user", "disable_tenant", "change_password"}
SCHEMA = schemathesis.openapi.from_dict(__import__("json").loads(description()))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Any]:
    with django_db_blocker.unblock():
        folder: Path = tmp_path_factory.mktemp("world")
        with make_site(folder, "main") as site:
            world = make_world(site)
            facts = furnished(world)
            for who in ("operator", "alice", "adam", "auditor"):
                world.tokens[who] = session_for(world, who)
            yield world, facts


def real(operation_id: str, facts: dict[str, str]) -> dict[str, str]:
    """What each part of a path may be that exists."""
    path_of = operation_id.replace("_job", "")
    refs = {
        "server": "web",
        "volume": "web-vda",
        "snapshot": facts["other"],
        "hold": facts["other"],
        "recovery_point": facts["point"],
        "template": "gold",
        "schedule": "nightly",
        "tracking": "web",
        "tags": "web",
        "tenant": "web",
    }
    found = next((value for word, value in refs.items() if word in path_of), "web")
    if "recovery_point" in operation_id:
        found = facts["point"]
    name = "adam" if "user" in operation_id else "acme"
    return {"ref": found, "job_id": facts["job"], "name": name}


def call(world: World, case: Any, who: str) -> Any:
    kwargs = case.as_transport_kwargs(base_url="http://dozo.test")
    kwargs.pop("cookies", None)
    headers = dict(kwargs.pop("headers", {}) or {})
    headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    url = kwargs.pop("url").removeprefix("http://dozo.test/api/v1")
    method = kwargs.pop("method")
    if "data" in kwargs:
        kwargs["content"] = kwargs.pop("data")
    return world.call(method, url, None if who == "nobody" else who, headers=headers, **kwargs)


@pytest.mark.parametrize("who", list(FEW))
def test_nothing_breaks_and_nothing_is_undeclared(shared: Any, who: str) -> None:
    world, facts = shared
    for result in SCHEMA.get_all_operations():
        operation = result.ok()
        name = operation.definition.raw["operationId"]
        if name in HARMFUL and who != "nobody":
            continue
        check(world, facts, who, operation, name)


def check(world: World, facts: dict[str, str], who: str, operation: Any, name: str) -> None:
    strategy = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )
    known = real(name, facts)

    @hypothesis.seed(1)
    @settings(
        max_examples=EXAMPLES or FEW[who],
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, existing=st.booleans())
    def run(case: Any, existing: bool) -> None:
        if case.path_parameters and (existing or name == "show_job_events"):
            case.path_parameters = {
                one: known.get(one, value) for one, value in case.path_parameters.items()
            }
        response = call(world, case, who)
        assert response.status_code != 500, (name, response.text)
        if who == "nobody":
            assert response.status_code in {200, 401, 404, 405, 429, 400, 422, 415}
        if response.status_code not in {404, 405}:
            case.validate_response(response, checks=CHECKS)

    run()
