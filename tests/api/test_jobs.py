"""Jobs over the API: asked for, shown, followed, cancelled; keys and dry runs."""

import asyncio
import json
import threading
from typing import Any

import pytest

from dozo.api import events
from dozo.model import clock

from .support import World
from .test_basics import problem


def queue(world: World, who: str = "alice", **more: Any) -> Any:
    body = {"snapshots": [world.snapshots["web0"]]}
    return world.post("/snapshots/verify", body, who, **more)


def test_a_dry_run_of_what_is_done_at_once_does_nothing(world: World) -> None:
    gone = {"snapshots": [world.snapshots["web0"]]}
    refused = world.post("/snapshots/delete?dry_run=true", gone)
    assert (refused.status_code, refused.json()["code"]) == (400, "api.no_dry_run")
    assert world.site.catalog.snapshots.filter(deleted_at=None).count() == 6
    point = world.get("/recovery-points?limit=1").json()["items"][0]["recovery_point"]
    shown = world.post(f"/recovery-points/{point}/verify?dry_run=true")
    assert (shown.status_code, shown.json()["kind"]) == (200, "snapshot.verify")


def test_asking_queues_a_job_and_says_where_it_is(world: World) -> None:
    response = queue(world)
    assert response.status_code == 202
    job = response.json()["job"]
    assert response.json() == {"job": job, "new": True}
    assert response.headers["location"] == f"/api/v1/jobs/{job}"
    shown = world.get(f"/jobs/{job}", "alice").json()
    assert (shown["state"], shown["tenant"], shown["object"]) == (
        "queued",
        "acme",
        world.snapshots["web0"],
    )
    entry = world.site.catalog.audit_entries.filter(operation="snapshot.verify").get()
    assert (entry.outcome, entry.detail["job"], entry.tenant) == ("done", job, "acme")
    problem(world.get(f"/jobs/{job}", "ulla"), 404, "job.unknown")


def test_a_refused_request_is_recorded(world: World) -> None:
    problem(queue(world, "auditor"), 403, "access.forbidden")
    entry = world.site.catalog.audit_entries.filter(operation="snapshot.verify").get()
    assert (entry.outcome, entry.actor.partition("/")[0]) == ("refused", "token:auditor")
    assert world.site.catalog.jobs.count() == 0


def test_the_same_key_names_the_same_job(world: World) -> None:
    headers = {"Idempotency-Key": "once"}
    first = queue(world, headers=headers).json()
    again = queue(world, headers=headers).json()
    assert again == {"job": first["job"], "new": False}
    # Somebody else's key is another one.
    assert queue(world, "adam", headers=headers).json()["new"] is True
    problem(
        world.post("/snapshots/copy", {"peer": ""}, "alice", headers=headers),
        409,
        "job.key_used_otherwise",
    )
    problem(queue(world, headers={"Idempotency-Key": "x" * 256}), 422, "api.request_invalid")


def test_a_dry_run_shows_the_plan_and_queues_nothing(world: World) -> None:
    response = queue(world, params={"dry_run": "true"})
    assert response.status_code == 200
    assert response.json()["kind"] == "snapshot.verify"
    assert world.site.catalog.jobs.count() == 0
    problem(queue(world, params={"dry_run": "maybe"}), 422, "api.request_invalid")


def test_a_job_runs_to_its_end_and_its_log_is_shown(world: World) -> None:
    job = queue(world).json()["job"]
    world.run_jobs()
    shown = world.get(f"/jobs/{job}", "alice").json()
    assert shown["state"] == "done", shown
    assert shown["result"]["verified"][0]["snapshot"] == world.snapshots["web0"]
    log = world.get(f"/jobs/{job}/log", "alice").json()
    assert log["total"] == len(log["items"]) >= 2
    after = log["items"][0]["line"]
    rest = world.get(f"/jobs/{job}/log?after={after}", "alice").json()["items"]
    assert rest == log["items"][1:]
    problem(world.post(f"/jobs/{job}/cancel", {}, "alice"), 409, "job.ended")


def test_a_waiting_job_is_cancelled(world: World) -> None:
    job = queue(world).json()["job"]
    assert world.post(f"/jobs/{job}/cancel", {}, "alice").json()["state"] == "cancelled"
    assert world.runner.cancelled == [f"{job}.0"]
    problem(world.post(f"/jobs/{job}/cancel", {}, "ulla"), 404, "job.unknown")
    outcomes = [
        one.outcome for one in world.site.catalog.audit_entries.filter(operation="job.cancel")
    ]
    assert outcomes == ["done", "refused"]


def test_jobs_are_filtered(world: World) -> None:
    done = queue(world).json()["job"]
    world.run_jobs()
    waiting = queue(world).json()["job"]

    def ids(query: str) -> list[str]:
        return [one["job"] for one in world.get(f"/jobs?{query}", "alice").json()["items"]]

    assert ids("") == [waiting, done]
    assert ids("sort=created_at") == [done, waiting]
    assert ids("active=true") == [waiting]
    assert ids("active=false") == [done]
    assert ids("state=done&kind=snapshot.verify") == [done]
    assert ids(f"object={world.snapshots['web0']}") == [waiting, done]
    assert ids("kind=site.sync") == []


def parsed(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def test_events_tell_lines_and_progress_until_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.05)
    job = queue(world).json()["job"]
    running = threading.Timer(0.3, world.run_jobs)
    running.start()
    response = world.get(f"/jobs/{job}/events", "alice")
    running.join()
    assert response.headers["content-type"].startswith("text/event-stream")
    told = parsed(response.text)
    assert told[0][0] == "progress"
    assert told[0][1]["state"] == "queued"
    name, last = told[-1]
    assert (name, last["state"]) == ("end", "done")
    lines = [data["text"] for name, data in told if name == "line"]
    log = world.get(f"/jobs/{job}/log", "alice").json()["items"]
    assert lines == [one["text"] for one in log]
    # Whoever was cut off goes on behind the last line that came.
    headers = {"Last-Event-ID": str(log[0]["line"])}
    again = parsed(world.get(f"/jobs/{job}/events", "alice", headers=headers).text)
    assert [data["text"] for name, data in again if name == "line"] == lines[1:]
    assert events.listeners.count == 0


class Listener:
    """Reads a stream of events as a server would, and goes away when it is told to."""

    def __init__(self, world: World, path: str, who: str) -> None:
        self.world = world
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/api/v1{path}",
            "raw_path": f"/api/v1{path}".encode(),
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {world.tokens[who]}".encode())],
            "client": ("192.0.2.7", 1234),
            "server": ("dozo.test", 80),
        }
        self.parts: list[bytes] = []
        self.came = asyncio.Event()
        self.gone = asyncio.Event()
        self.asked = False

    async def receive(self) -> dict[str, Any]:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.parts.append(message.get("body", b""))
            self.came.set()

    async def run(self) -> None:
        await self.world.app(self.scope, self.receive, self.send)

    async def until(self, text: bytes) -> None:
        while text not in b"".join(self.parts):
            self.came.clear()
            await asyncio.wait_for(self.came.wait(), 10)


def test_a_listener_that_goes_away_leaves_nothing_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.2)
    job = queue(world).json()["job"]

    async def listen() -> None:
        listener = Listener(world, f"/jobs/{job}/events", "alice")
        running = asyncio.create_task(listener.run())
        await listener.until(b"event: progress")
        await listener.until(b": still here")
        assert events.listeners.count == 1
        listener.gone.set()
        await asyncio.wait_for(running, 10)

    asyncio.run(listen())
    assert events.listeners.count == 0


def test_a_stream_ends_with_the_right_to_see_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.05)
    job = queue(world).json()["job"]

    def revoke() -> None:
        world.site.catalog.tokens.filter(owner__username="alice").update(revoked_at=clock.now())

    revoking = threading.Timer(0.5, revoke)
    revoking.start()
    told = parsed(world.get(f"/jobs/{job}/events", "alice").text)
    revoking.join()
    assert [name for name, _ in told] == ["progress"]


def test_there_are_not_too_many_listeners(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_LISTENERS", 0)
    job = queue(world).json()["job"]
    problem(world.get(f"/jobs/{job}/events", "alice"), 429, "api.too_many_listeners")
