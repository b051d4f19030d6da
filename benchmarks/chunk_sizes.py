"""Which chunk size and compression level: speed, stored size, and what a small change costs.

Called by ``scripts/bench --chunk-sizes``.
"""

from pathlib import Path

from benchmarks import data, tools

SIZES = (64, 128, 256, 512, 1024, 4096)
LEVELS = (1, 3)
MIB = 1 << 20
ID_BYTES = 32
FANOUT = 256


def sweep(image: data.Image, folder: Path) -> str:
    """A row for each size and level, measured with the bare loop."""
    lines = [
        "| chunk | level | backup | stored | stored for one changed 4 KiB block |",
        "|---|---|---|---|---|",
    ]
    for kib in SIZES:
        for level in LEVELS:
            loop = tools.BareLoop(folder, chunk=kib << 10, level=level)
            loop.start()
            data.warm(image.path)
            done = loop.backup(image.path)
            stored = tools.stored_bytes(loop.store)
            chunks = image.data_bytes / (kib << 10)
            one = stored / chunks + FANOUT * ID_BYTES
            lines.append(
                f"| {kib} KiB | {level} | {done.seconds:.1f} s | {stored / MIB:,.0f} MiB"
                f" | {one / 1024:.0f} KiB |"
            )
            print(lines[-1], flush=True)
    loop.store.unlink()
    return "\n".join(lines)
