"""A private qemu-nbd: one image, offered on a unix socket that only we can reach."""

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from dozo.model.message import Message
from dozo.volumes import qemu_img
from dozo.volumes.errors import ExportUnavailable, ServerFailed, ToolMissing
from dozo.volumes.image_info import ImageInfo

_PREFIX = "dozo-nbd-"
# The kernel takes at most 107 bytes as the name of a unix socket.
_PARENT_LIMIT = 80
_BACKLOG = 64
_END_S = 60
_GIVE_UP_S = 5


@contextmanager
def serve(
    info: ImageInfo, *, writable: bool = False, force_share: bool = False, bitmap: str | None = None
) -> Iterator[Path]:
    """Run qemu-nbd for an image within the block, and yield the path of its socket.

    It serves any number of clients and ends with the last of them, with the block, or with
    this process, also when that is killed. After a writable export has ended, what was
    flushed is in the file and the image is closed cleanly; otherwise ``ServerFailed``.

    ``force_share`` takes no locks and works only read-only. ``bitmap`` also offers the
    persistent dirty bitmap of that name as a context ``qemu:dirty-bitmap:NAME``.
    """
    with _private_folder() as folder:
        process = _start(_command(info, writable, force_share, bitmap), folder)
        try:
            with _failure_explained(process, folder, info.path):
                yield folder / "socket"
            if writable:
                _wait_for_end(process, folder, info.path)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _command(info: ImageInfo, writable: bool, force_share: bool, bitmap: str | None) -> list[str]:
    command = [
        "qemu-nbd",
        "--shared=0",
        "--cache=writeback",
        "--discard=unmap",
        "--detect-zeroes=off",
        "--image-opts",
    ]
    if not writable:
        command.append("--read-only")
    if bitmap is not None:
        command.append(f"--bitmap={bitmap}")
    driver = "host_device" if Path(info.path).is_block_device() else "file"
    # In QEMU's option lists a comma in a value is doubled.
    filename = info.path.replace(",", ",,")
    share = ",force-share=on" if force_share else ""
    options = f"driver={info.format}{share},file.driver={driver},file.filename={filename}"
    return [*command, options]


# setpriv asks the kernel for a signal when the parent dies; the shell then makes sure that
# it has not died before that, and passes the listening socket (its standard input) on in
# the way of systemd's socket activation.
_TAKE_OVER = """
test "$PPID" = "$1" || exit 1
shift
export LISTEN_PID="$$" LISTEN_FDS=1
exec "$@" 3<&0 0</dev/null
"""
_DYING_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _TAKE_OVER, "sh")

# The kernel sends the death signal when the *thread* that started the child ends, so
# children are started by a thread that lives as long as the process.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dozo-nbd-starter")


def _forget_starter() -> None:
    global _starter  # noqa: PLW0603  a forked child has no thread behind the old one
    _starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dozo-nbd-starter")


os.register_at_fork(after_in_child=_forget_starter)


def _start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    for program in ("setpriv", "qemu-nbd"):
        if shutil.which(program) is None:
            raise ToolMissing(program)

    def start(listening_fd: int) -> subprocess.Popen[bytes]:
        with (folder / "messages").open("wb") as messages:
            return subprocess.Popen(
                [*_DYING_WITH_US, str(os.getpid()), *command],
                stdin=listening_fd,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                env=qemu_img.environment(),
                # SIGXFSZ stays ignored: a size limit is then an error of one write.
                restore_signals=False,
                # A Ctrl-C of the terminal is for us; we end the child in order.
                start_new_session=True,
            )

    # The socket listens before qemu-nbd starts, so nobody has to wait until it does.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen(_BACKLOG)
        return _starter.submit(start, listener.fileno()).result()


@contextmanager
def _failure_explained(process: subprocess.Popen[bytes], folder: Path, path: str) -> Iterator[None]:
    # We connect before qemu-nbd has opened the image: when it cannot open it, what we see
    # first is a connection that is closed.
    try:
        yield
    except ExportUnavailable:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.wait(_GIVE_UP_S) != 0:
                raise _failure(folder, path) from None
        raise


def _wait_for_end(process: subprocess.Popen[bytes], folder: Path, path: str) -> None:
    try:
        code = process.wait(_END_S)
    except subprocess.TimeoutExpired:
        raise ServerFailed(
            path, Message("it did not end within {seconds} s", seconds=_END_S)
        ) from None
    if code != 0:
        raise ServerFailed(
            path, Message("exit code {code}: {said}", code=code, said=_messages(folder))
        )


def _failure(folder: Path, path: str) -> Exception:
    return qemu_img.failure(path, _messages(folder))


def _messages(folder: Path) -> str:
    with (folder / "messages").open("rb") as file:
        return file.read(4096).decode("utf-8", "replace").strip()


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only our user may enter; also removes those of killed processes."""
    parent = tempfile.gettempdir()
    if len(parent) > _PARENT_LIMIT:
        parent = "/tmp"  # noqa: S108  what is made there is a private folder
    _remove_abandoned(Path(parent))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(_PREFIX + "*"):
        # Before qemu-nbd has written anything its owner may not have locked the folder yet.
        if not (folder / "messages").exists():
            continue
        with contextlib.suppress(OSError):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)
