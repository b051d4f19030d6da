"""Profiles: services elsewhere, with the token that opens each; `$XDG_CONFIG_HOME/dozo`."""

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from dozo.cli.errors import ProfilesInvalid, ProfileUnknown
from dozo.model.message import Message

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One service: its address, the file with the token, the file with the CA's certificates."""

    name: str
    url: str
    ca: Path | None = None

    @property
    def token_file(self) -> Path:
        """Where the token is kept, for its owner's eyes alone."""
        return folder() / "tokens" / self.name

    def token(self) -> str | None:
        """The token; None before the first login."""
        try:
            return self.token_file.read_text().strip() or None
        except FileNotFoundError:
            return None


def folder() -> Path:
    """Where the profiles are."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "dozo"


def profiles_file() -> Path:
    """The file that lists them."""
    return folder() / "profiles.toml"


def load(name: str) -> Profile:
    """The profile of that name. Raises :class:`ProfileUnknown`, :class:`ProfilesInvalid`."""
    found = _read().get(name)
    if found is None:
        raise ProfileUnknown(name, str(profiles_file()))
    ca = found.get("ca")
    if not is_private(str(found["url"])):
        raise ProfilesInvalid(
            str(profiles_file()), f"the url of {name} is neither https:// nor this host"
        )
    return Profile(name=name, url=str(found["url"]).rstrip("/"), ca=Path(ca) if ca else None)


def is_private(url: str) -> bool:
    """Whether passwords and tokens may go there: under TLS, or to this host."""
    try:
        found = urlsplit(url)
    except ValueError:
        return False
    here = found.scheme == "http" and found.hostname in {"127.0.0.1", "::1", "localhost"}
    return bool(found.hostname) and (found.scheme == "https" or here)


def save(profile: Profile) -> None:
    """Add a profile, or replace the one of that name."""
    if not _NAME.fullmatch(profile.name):
        raise typer.BadParameter(Message("{name!r} cannot be a profile's name", name=profile.name))
    known = _read()
    known[profile.name] = {"url": profile.url, **({"ca": str(profile.ca)} if profile.ca else {})}
    lines = []
    for name, values in sorted(known.items()):
        lines.append(f"[{json.dumps(name)}]")
        # A JSON text is a TOML text as well.
        lines += [f"{key} = {json.dumps(str(value))}" for key, value in values.items()]
        lines.append("")
    _write(profiles_file(), "\n".join(lines))


def save_token(profile: Profile, token: str) -> None:
    """Keep a token, mode 0600."""
    _write(profile.token_file, token + "\n")


def forget_token(profile: Profile) -> None:
    """Remove the token."""
    profile.token_file.unlink(missing_ok=True)


def _read() -> dict[str, dict[str, Any]]:
    path = profiles_file()
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfilesInvalid(str(path), str(error)) from None
    for name, values in found.items():
        if not isinstance(values, dict) or not isinstance(values.get("url"), str):
            raise ProfilesInvalid(str(path), Message("profile {name} has no url", name=name))
    return found


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
