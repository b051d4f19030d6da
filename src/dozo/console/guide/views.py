"""The tenant's guide: pages that ``scripts/write_guide.py`` makes from docs/guide.md."""

from django.http import HttpResponse
from django.utils import translation

from dozo.console.shell.visit import Visit, page
from dozo.model import language
from dozo.web.errors import RouteUnknown

CHAPTERS = ("backup", "constraints", "patterns", "restore", "limits")


@page()
def contents(visit: Visit) -> HttpResponse:
    """The table of contents."""
    return visit.render("guide/contents.html", {"text": f"guide/{_language()}/contents.html"})


@page()
def chapter(visit: Visit, chapter: str) -> HttpResponse:
    """One chapter, with the table of contents beside it."""
    if chapter not in CHAPTERS:
        raise RouteUnknown
    at = CHAPTERS.index(chapter)
    spoken = _language()
    context = {
        "chapter": chapter,
        "contents": f"guide/{spoken}/contents.html",
        "before": CHAPTERS[at - 1] if at else "",
        "after": CHAPTERS[at + 1] if at + 1 < len(CHAPTERS) else "",
    }
    return visit.render(f"guide/{spoken}/{chapter}.html", context)


def _language() -> str:
    wanted = translation.get_language() or language.DEFAULT
    return wanted if wanted in language.LANGUAGES else language.DEFAULT
