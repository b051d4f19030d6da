"""A snapshot from a service elsewhere into a file here, taken up again where it broke."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from dozo.cli.client import Client, at, client_of
from dozo.cli.errors import AnswerStrange, DownloadBroken, ServiceUnreachable
from dozo.cli.files import new_file
from dozo.cli.output import progress
from dozo.model import clock
from dozo.model.message import Message

if TYPE_CHECKING:
    from dozo.model.progress import Progress

_TRIES = 6
_PAUSE_SECONDS = 2.0
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A snapshot that was written to a file here."""

    snapshot: str
    path: str
    format: str
    bytes_volume: int
    bytes_written: int
    seconds: float


def download(
    context: typer.Context,
    reference: str,
    out: Path,
    *,
    format: str,
    force: bool,
    as_json: bool,
) -> Downloaded:
    """Write a snapshot to a new file: whole and durable, or not there at all.

    Raises :class:`DownloadBroken` where the service does not send all of it.
    """
    began = clock.monotonic()
    with (
        client_of(context) as client,
        new_file(out, force=force) as file,
        progress(as_json=as_json) as work,
    ):
        row = client.get(at("snapshots", reference))
        path = at("snapshots", row["snapshot"], "download")
        work.step(Message("download {name}", name=row["name"]))
        written = _Transfer(client, path, format, file, work.bytes_of(row["name"])).run()
    return Downloaded(
        snapshot=row["snapshot"],
        path=str(out),
        format=format,
        bytes_volume=row["bytes_volume"],
        bytes_written=written,
        seconds=clock.monotonic() - began,
    )


class _Transfer:
    """One file: what has come, and of which version of it."""

    def __init__(
        self, client: Client, path: str, format: str, file: BinaryIO, shown: "Progress"
    ) -> None:
        self._client = client
        self._path = path
        self._format = format
        self._file = file
        self._shown = shown
        self._version: str | None = None
        self._size: int | None = None
        self._there = 0

    def run(self) -> int:
        """Take it all; how many bytes that the file system has to hold."""
        failures = 0
        while True:
            before = self._there
            try:
                self._take()
            except ServiceUnreachable as error:
                failures = 1 if self._there > before else failures + 1
                if failures >= _TRIES:
                    raise DownloadBroken(self._there, self._size, str(error)) from None
                clock.sleep(_PAUSE_SECONDS * failures)
                continue
            if self._there != self._size:
                raise DownloadBroken(self._there, self._size, Message("the service ended it"))
            self._file.truncate(self._there)
            return self._there

    def _take(self) -> None:
        headers = {}
        if self._there and self._version is not None:
            headers = {"Range": f"bytes={self._there}-", "If-Range": self._version}
        with self._client.stream(self._path, headers=headers, format=self._format) as answer:
            length, version = answer.headers.get("Content-Length"), answer.headers.get("ETag")
            if length is None or version is None or answer.status_code not in {200, 206}:
                raise AnswerStrange("GET", self._path, Message("a file without length or version"))
            if answer.status_code == 200:
                # From the beginning: the first time, or another file than that of before.
                self._there, self._size = 0, int(length)
                self._file.seek(0)
                self._file.truncate()
                self._shown.total(self._size)
            elif version != self._version or self._there + int(length) != self._size:
                raise AnswerStrange("GET", self._path, Message("the rest of another file"))
            self._version = version
            for block in answer.iter_raw():
                self._write(block)

    def _write(self, block: bytes) -> None:
        for start in range(0, len(block), _BLOCK_BYTES):
            piece = block[start : start + _BLOCK_BYTES]
            if piece.count(0) == len(piece):
                # A hole reads as zeros too; the end is set when all has come.
                self._file.seek(len(piece), 1)
            else:
                self._file.write(piece)
            self._there += len(piece)
        self._shown.advance(len(block))
