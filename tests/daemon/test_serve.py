"""`dozo serve` as a process: it answers, is alone, ends in order, and keeps to itself."""

import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from .support import command, started


def refused(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(home, *arguments),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_answers_on_both_addresses_and_ends_in_order(home: Path) -> None:
    with started(home) as service:
        alive = service.get("/healthz")
        assert alive.status_code == 200
        assert alive.json()["loops"] == dict.fromkeys(
            (
                "dispatch",
                "schedules",
                "upkeep",
                "inventory",
                "clean",
                "mend",
                "forget",
                "adopt",
                "news",
                "tell",
            ),
            True,
        )
        ready = service.local("/readyz")
        assert ready.status_code == 200
        # No hypervisor: told, and no reason not to be ready.
        assert ready.json()["checks"] == {"catalog": "ok", "vault": "ok", "libvirt": "unavailable"}
        assert service.stop() == 0
        messages = [event["message"] for event in service.events()]
        assert messages[-1] == "the service has stopped" or messages[-1].startswith("worker")
    assert not (home / "api.sock").exists()


def test_the_socket_is_for_its_owner_alone_and_a_stale_one_is_replaced(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(home / "api.sock"))
    with started(home) as service:
        assert stat.S_IMODE((home / "api.sock").stat().st_mode) == 0o600
        assert service.local("/healthz").status_code == 200


def test_a_second_service_of_a_home_is_refused(home: Path) -> None:
    with started(home) as service:
        done = refused(home, "serve")
        assert done.returncode == 4
        assert f"a service already runs for {home} (process {service.process.pid})" in done.stderr
        assert service.local("/healthz").status_code == 200


def test_a_worker_beside_it_is_refused_on_sqlite_and_runs_beside_the_api_alone(home: Path) -> None:
    with started(home):
        done = refused(home, "worker")
        assert done.returncode == 4
        assert "SQLite serves only one" in done.stderr
    with started(home, "serve", "--no-worker") as service:
        assert service.get("/healthz").json()["loops"] == {}
        with started(home, "worker", ready=False) as worker:
            worker.wait_logged("has begun")
            assert worker.stop() == 0


def test_what_others_can_reach_needs_tls(home: Path) -> None:
    done = refused(home, "serve", DOZO_SERVICE_LISTEN="0.0.0.0:0")
    assert done.returncode == 4
    assert "there is no TLS" in done.stderr
    done = refused(home, "serve", DOZO_SERVICE_LISTEN="somewhere")
    assert done.returncode == 2


def test_tls_by_settings(home: Path, tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=dozo", "-days", "2"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    with started(
        home, service_tls_certificate=str(certificate), service_tls_key=str(key)
    ) as service:
        assert service.get("/healthz").status_code == 200
        # The socket in the home stays without.
        assert service.local("/healthz").status_code == 200
    done = refused(home, "serve", DOZO_SERVICE_TLS_CERTIFICATE=str(certificate))
    assert done.returncode == 2
    assert "it needs both" in done.stderr


def test_an_address_in_use_is_said(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = refused(home, "serve", DOZO_SERVICE_LISTEN=f"127.0.0.1:{port}")
    assert done.returncode == 6
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_query_and_a_token_stay_out_of_the_log(home: Path) -> None:
    with started(home) as service:
        service.get("/api/v1/x?token=dozo_verysecret", headers={"Authorization": "Bearer dozo_aa"})
        service.wait_logged("/api/v1/x")
        text = service.log.read_text()
        assert "verysecret" not in text
        assert "dozo_aa" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_ends_it_too(home: Path, number: int) -> None:
    with started(home, ready=False) as service:
        service.wait_logged("", seconds=1)
        while not (home / "api.sock").exists():
            assert service.process.poll() is None
        assert service.stop(number) in {0, 130, 143}


def test_the_socket_needs_no_token_and_nobody_can_pretend_to_use_it(home: Path) -> None:
    with started(home) as service:
        assert service.local("/api/v1/servers").json()["items"] == []
        for headers in ({}, {"X-Local": "true", "State": "local"}, {"Host": "api.sock"}):
            assert service.get("/api/v1/servers", headers=headers).status_code == 401


def test_systemd_is_told_when_it_is_ready(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with started(home) as service:
            assert systemd.recv(100) == b"READY=1"
            assert service.stop() == 0
            assert systemd.recv(100) == b"STOPPING=1"


def test_an_open_stream_does_not_keep_it_from_ending(home: Path) -> None:
    with started(home) as service, socket.create_connection(("127.0.0.1", service.port)) as idle:
        idle.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        service.wait_logged("serving on")
        assert service.stop(seconds=40) == 0
