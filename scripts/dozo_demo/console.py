"""Somebody who can log in to the demo's consoles, and how to get there."""

import os
import secrets
import socket

import httpx

from dozo_demo import services
from dozo_demo.places import DemoSite
from dozo_demo.terminal import StepFailed

USER = "demo"


def open_consoles(sites: tuple[DemoSite, ...]) -> str:
    """Make an operator at each site; the password, which stands nowhere else."""
    password = "-".join(secrets.token_hex(3) for _ in range(3))
    for site in sites:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(site.home / "api.sock")), timeout=60
        ) as client:
            answer = client.post(
                "http://dozo/api/v1/users",
                json={
                    "username": USER,
                    "password": password,
                    "role": "operator",
                    "must_change_password": False,
                },
            )
        if answer.status_code != 201:
            raise StepFailed(f"no user for the console of {site.name}: {answer.text}")
    return password


def described(sites: tuple[DemoSite, ...], password: str) -> str:
    """The consoles' addresses, the login, and the way there from another host."""
    lines = ["The Admin Consoles:"]
    ports = []
    for site in sites:
        address = services.address(site)
        ports.append(address.rpartition(":")[2])
        lines.append(f"   {site.name:<14} http://{address}/")
    lines.append(f"   log in as      {USER}    password   {password}")
    forwards = " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports)
    user = os.environ.get("SUDO_USER") or os.environ.get("USER") or "root"
    lines.append(f"   from elsewhere: ssh {forwards} {user}@{socket.gethostname()}")
    return "\n".join(lines)
