"""Runs the measurements and writes them as a table. Called by ``scripts/bench``."""

import argparse
import filecmp
import platform
import shutil
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path

from benchmarks import chunk_sizes, data, tools
from dozo.vault.header import DEFAULT_CHUNK_BYTES, DEFAULT_LEVEL

FIRST, AGAIN, HINTED = "first backup", "unchanged, no hint", "1 % changed, with hint"
RESTORE, CHECK = "restore", "read everything back"
MIB = 1 << 20


class Results:
    """Seconds and peaks by (image, what, tool), and stored bytes."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.peaks: dict[tuple[str, str], int] = defaultdict(int)
        self.stored: dict[tuple[str, str], int] = {}

    def add(self, image: data.Image, what: str, tool: str, done: tools.Measured) -> None:
        self.seconds[image.name, what, tool].append(done.seconds)
        key = (image.name, tool)
        self.peaks[key] = max(self.peaks[key], done.peak_bytes)
        print(f"{image.name}: {tool}: {what}: {done.seconds:.1f} s", flush=True)


def measure(image: data.Image, folder: Path, rounds: int, results: Results) -> None:
    """Alternate the tools, so that all see the same machine."""
    changed, extents = data.changed_copy(image, folder, 0.01)
    output = folder / "restored.raw"
    candidates = [
        tools.Dozo(folder),
        tools.BareLoop(folder, chunk=DEFAULT_CHUNK_BYTES, level=DEFAULT_LEVEL),
        tools.Restic(folder),
        tools.Borg(folder),
    ]
    for _round in range(rounds):
        for tool in candidates:
            tool.start()
            data.warm(image.path)
            results.add(image, FIRST, tool.name, tool.backup(image.path))
            results.stored[image.name, tool.name] = tools.stored_bytes(tool.store)
            if not isinstance(tool, tools.BareLoop):
                results.add(image, AGAIN, tool.name, tool.backup(image.path))
                results.add(image, CHECK, tool.name, tool.check())
            output.unlink(missing_ok=True)
            results.add(image, RESTORE, tool.name, tool.restore(output))
            if not filecmp.cmp(image.path, output, shallow=False):
                raise SystemExit(f"{tool.name} restored other bytes than it was given")
            output.unlink()
            if isinstance(tool, tools.Dozo):
                data.warm(changed.path)
                results.add(image, HINTED, tool.name, tool.incremental(changed.path, extents))
    changed.path.unlink()


def table(results: Results, images: list[data.Image], rounds: int) -> str:
    """The results as Markdown: medians, and ratios to the bare loop and to restic."""
    lines = [f"{_machine()}; medians of {rounds} runs; image in the page cache.", ""]
    for image in images:
        lines += [
            (
                f"### {image.name}: {image.size_bytes / MIB:,.0f} MiB,"
                f" {image.data_bytes / MIB:,.0f} MiB of it allocated"
            ),
            "",
            "| | dozo | bare loop | restic | borg |",
            "|---|---|---|---|---|",
        ]
        for what in (FIRST, AGAIN, HINTED, RESTORE, CHECK):
            cells = [_seconds(results, image.name, what, tool) for tool in _NAMES]
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
        sizes = [results.stored[image.name, tool] for tool in _NAMES]
        lines.append("| stored | " + " | ".join(f"{size / MIB:,.0f} MiB" for size in sizes) + " |")
        peaks = [results.peaks[image.name, tool] for tool in _NAMES]
        lines.append(
            "| peak memory | " + " | ".join(f"{size / MIB:,.0f} MiB" for size in peaks) + " |"
        )
        lines += ["", *_ratios(results, image.name), ""]
    return "\n".join(lines)


_NAMES = ("dozo", "bare loop", "restic", "borg")


def _seconds(results: Results, image: str, what: str, tool: str) -> str:
    found = results.seconds.get((image, what, tool))
    if not found:
        return "-"
    return f"{statistics.median(found):.1f} s"


def _ratios(results: Results, image: str) -> list[str]:
    def median(what: str, tool: str) -> float:
        return statistics.median(results.seconds[image, what, tool])

    lines = []
    for what in (FIRST, RESTORE):
        dozo = median(what, "dozo")
        lines.append(
            f"- {what}: {median(what, 'bare loop') / dozo:.2f} of the bare loop's speed,"
            f" {median(what, 'restic') / dozo:.1f} times restic's"
        )
    ratio = results.stored[image, "dozo"] / results.stored[image, "restic"]
    lines.append(f"- stored: {ratio:.2f} times restic's")
    return lines


def _machine() -> str:
    versions = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[:2]
        for command in (["restic", "version"], ["borg", "--version"])
    ]
    named = ", ".join(" ".join(words) for words in versions)
    return f"{platform.machine()}, {_cores()} cores, Python {platform.python_version()}, {named}"


def _cores() -> int:
    text = Path("/proc/cpuinfo").read_text()
    return sum(line.startswith("processor") for line in text.splitlines())


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/dozo-bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", nargs="+", choices=["sparse", "dense"], default=None)
    parser.add_argument("--dense-bytes", type=int, default=3 << 30)
    parser.add_argument("--chunk-sizes", action="store_true", help="only compare chunk sizes")
    parser.add_argument("--output", type=Path, default=None, help="write the table here as well")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    makers = {
        "sparse": lambda: data.sparse_image(options.folder),
        "dense": lambda: data.dense_image(options.folder, options.dense_bytes),
    }
    images = [makers[name]() for name in options.images or ["dense", "sparse"]]
    results = Results()
    work = options.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    if options.chunk_sizes:
        work.mkdir()
        for image in images:
            print(f"{image.name}\n\n{chunk_sizes.sweep(image, work)}\n")
        return
    for image in images:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        measure(image, work, options.rounds, results)
    shutil.rmtree(work, ignore_errors=True)
    text = table(results, images, options.rounds)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
