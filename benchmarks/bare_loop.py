"""The limit: read, hash, compress, seal and write, with two threads and no bookkeeping.

Run as a program: ``bare_loop.py backup IMAGE OUTPUT CHUNK LEVEL`` or ``restore OUTPUT IMAGE``.
"""

import os
import struct
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

THREADS = 2
KEY = bytes(32)
# offset in the image u64, length of the sealed piece u32, length of the plain piece u32
PIECE = struct.Struct("<QII")


def pieces(fd: int, size: int, chunk: int) -> Iterator[tuple[int, int]]:
    """The chunks that are allocated."""
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA) // chunk * chunk
        except OSError:
            return
        end = os.lseek(fd, at, os.SEEK_HOLE)
        while at < end:
            yield at, min(chunk, size - at)
            at += chunk


def backup(image: str, output: str, chunk: int, level: int) -> None:
    """Everything a backup must do to each byte, and nothing else."""
    source = os.open(image, os.O_RDONLY)
    work = iter(pieces(source, os.fstat(source).st_size, chunk))
    lock = threading.Lock()
    with Path(output).open("wb") as target:

        def run() -> None:
            compressor = zstandard.ZstdCompressor(level=level)
            cipher = AESGCM(KEY)
            while True:
                with lock:
                    at, length = next(work, (-1, 0))
                if at < 0:
                    return
                plain = os.pread(source, length, at)
                digest = blake3(plain, key=KEY).digest()
                sealed = cipher.encrypt(digest[:12], compressor.compress(plain), digest)
                with lock:
                    target.write(PIECE.pack(at, len(sealed), length) + digest)
                    target.write(sealed)

        _in_threads(run)
        target.flush()
        os.fsync(target.fileno())


def restore(stored: str, image: str, size: int) -> None:
    """Everything a restore must do to each byte, and nothing else."""
    lock = threading.Lock()
    target = os.open(image, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.ftruncate(target, size)
    with Path(stored).open("rb") as source:

        def run() -> None:
            decompressor = zstandard.ZstdDecompressor()
            cipher = AESGCM(KEY)
            while True:
                with lock:
                    head = source.read(PIECE.size + 32)
                    if not head:
                        return
                    at, sealed_bytes, length = PIECE.unpack_from(head)
                    sealed = source.read(sealed_bytes)
                digest = head[PIECE.size :]
                plain = decompressor.decompress(
                    cipher.decrypt(digest[:12], sealed, digest), max_output_size=length
                )
                if blake3(plain, key=KEY).digest() != digest:
                    raise SystemExit("damaged")
                os.pwrite(target, plain, at)

        _in_threads(run)
    os.fsync(target)


def _in_threads(run: object) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(run) for _ in range(THREADS)]:  # type: ignore[arg-type]
            done.result()


if __name__ == "__main__":
    if sys.argv[1] == "backup":
        backup(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        restore(sys.argv[2], sys.argv[3], int(sys.argv[4]))
