"""Running qemu-img, and turning what it says into errors."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dozo.model.message import Message
from dozo.volumes.errors import (
    BackingFileMissing,
    FormatUnknown,
    ImageCorrupt,
    ImageInUse,
    NoSpace,
    PermissionDenied,
    ToolMissing,
    VolumeError,
)

# qemu-img check prints a line for each bad cluster: a badly cut image would otherwise
# fill our memory with them.
_STDERR_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a finished program left."""

    code: int
    stdout: str
    stderr: str


def run(arguments: Sequence[str]) -> Answer:
    """Run ``qemu-img`` with ``arguments``. Raises ``ToolMissing``."""
    with _start(arguments, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101  Popen was told to make pipes
        assert process.stderr is not None  # noqa: S101
        # Standard output is one short JSON document, so reading it second cannot block.
        stderr = process.stderr.read(_STDERR_LIMIT_BYTES)
        process.stderr.close()
        stdout = process.stdout.read()
    return Answer(
        code=process.returncode,
        stdout=stdout.decode("utf-8", "surrogateescape"),
        stderr=stderr.decode("utf-8", "replace").strip(),
    )


def lines(arguments: Sequence[str]) -> Iterator[str]:
    """The lines that ``qemu-img`` prints, one at a time. Raises ``ToolMissing``."""
    with _start(arguments, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None  # noqa: S101  Popen was told to make a pipe
        for line in process.stdout:
            yield line.decode("utf-8", "surrogateescape")


def _start(arguments: Sequence[str], *, stderr: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["qemu-img", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment(),
            # Python ignores SIGXFSZ and SIGPIPE, and so shall the child: it then reports
            # the failed write instead of dying without a word.
            restore_signals=False,
        )
    except FileNotFoundError as error:
        raise ToolMissing("qemu-img") from error


def environment() -> dict[str, str]:
    """The environment for QEMU's programs: messages in English, since we read them."""
    return {**os.environ, "LC_ALL": "C"}


def failure(path: str, stderr: str, *, image_format: str = "") -> VolumeError:
    """The error that QEMU's message about ``path`` means."""
    reason = stderr.removeprefix("qemu-img: ").removeprefix("qemu-nbd: ")
    reason = reason.splitlines()[0] if reason else Message("no message")
    if "Is another process using the image" in stderr or 'write" lock' in stderr:
        return ImageInUse(path)
    if "Permission denied" in stderr:
        return PermissionDenied(path, reason)
    if "No space left" in stderr or "File too large" in stderr or "quota exceeded" in stderr:
        return NoSpace(path, reason)
    if "Unknown driver" in stderr or "Unknown file format" in stderr:
        return FormatUnknown(path, image_format)
    if "No such file or directory" in stderr:
        return BackingFileMissing(path, reason)
    return ImageCorrupt(path, reason)
