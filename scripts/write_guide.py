#!/usr/bin/env python3
"""Write the guide's pages in the Admin Console from docs/guide.md and docs/guide.ja.md.

A test fails while the pages are out of date. The chapters and sections of both languages stand
in the same order, and the names in addresses follow from it.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "src" / "dozo" / "console" / "guide" / "templates" / "guide"
SOURCES = {"en": ROOT / "docs" / "guide.md", "ja": ROOT / "docs" / "guide.ja.md"}
# What stands in addresses, and therefore never changes: chapters and their sections, in order.
ADDRESSES = {
    "backup": ("snapshots", "modes", "schedules", "generations", "protection", "deleting"),
    "constraints": ("kcps-v1", "disks"),
    "patterns": ("a", "b", "c", "d"),
    "restore": ("steps", "whole", "in-place", "file", "loss"),
    "limits": (),
}
# Beside a character of Japanese a line break of the source is no space.
_BREAK = re.compile(r"(?<=[^\x00-\x7f])\n|\n(?=[^\x00-\x7f])")


@dataclass
class Chapter:
    """A chapter as it was written."""

    title: str
    lines: list[str] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)


def chapters(language: str) -> dict[str, Chapter]:
    """The chapters of the guide in a language, by their addresses."""
    found: list[Chapter] = []
    fenced = False
    for line in SOURCES[language].read_text().splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("## ") and not fenced:
            found.append(Chapter(title=line.removeprefix("## ")))
        elif found:
            found[-1].lines.append(line)
            if line.startswith("### ") and not fenced:
                found[-1].sections.append(line.removeprefix("### "))
    if len(found) != len(ADDRESSES):
        raise SystemExit(f"{SOURCES[language]}: {len(found)} chapters, not {len(ADDRESSES)}")
    for address, chapter in zip(ADDRESSES, found, strict=True):
        if len(chapter.sections) != len(ADDRESSES[address]):
            raise SystemExit(f"{SOURCES[language]}: other sections in {chapter.title}")
    return dict(zip(ADDRESSES, found, strict=True))


def pages() -> dict[Path, str]:
    """Every page by its file."""
    found = {}
    for language in SOURCES:
        read = chapters(language)
        folder = PAGES / language
        found[folder / "contents.html"] = _contents(read)
        for address, chapter in read.items():
            text = _page(address, chapter)
            found[folder / f"{address}.html"] = _BREAK.sub("", text) if language == "ja" else text
    return found


def _contents(read: dict[str, Chapter]) -> str:
    lines = ["<ol>"]
    for address, chapter in read.items():
        here = f'{{% if chapter == "{address}" %}} aria-current="page"{{% endif %}}'
        lines.append(f'<li><a href="/help/{address}"{here}>{_inline(chapter.title)}</a>')
        if chapter.sections:
            lines.append("<ol>")
            lines += [
                f'<li><a href="/help/{address}#{section}">{_inline(title)}</a></li>'
                for section, title in zip(ADDRESSES[address], chapter.sections, strict=True)
            ]
            lines.append("</ol>")
        lines.append("</li>")
    return "\n".join([*lines, "</ol>", ""])


def _page(address: str, chapter: Chapter) -> str:
    title = _inline(chapter.title)
    return (
        '{% extends "guide/page.html" %}\n'
        f"{{% block title %}}{title}{{% endblock %}}\n"
        f"{{% block heading %}}{title}{{% endblock %}}\n"
        f"{{% block text %}}\n{_html(address, chapter)}{{% endblock %}}\n"
    )


def _html(address: str, chapter: Chapter) -> str:
    text = _markdown().render("\n".join(chapter.lines))
    anchors = iter(ADDRESSES[address])
    text = re.sub(r"<h3>", lambda _: f'<h2 id="{next(anchors)}">', text)
    text = text.replace("</h3>", "</h2>").replace("<th>", '<th scope="col">')
    text = text.replace("<table>", '<div class="scroll"><table>')
    text = text.replace("</table>", "</table></div>")
    if "{{" in text or "{%" in text:
        raise SystemExit(f"{address}: braces mean something in a template")
    return text


def _inline(text: str) -> str:
    return _markdown().renderInline(text)


def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def main() -> None:
    """Write what is out of date."""
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
