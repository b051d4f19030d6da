"""Settings, the test of notifications, and what the host needs."""

from django.http import HttpResponse

from dozo.console.shell.visit import Visit, page
from dozo.services import doctor as examiner
from dozo.services import notify, overview
from dozo.services.access import Operation
from dozo.services.doctor import Outcome


@page(Operation.SETTINGS_SHOW)
def settings(visit: Visit) -> HttpResponse:
    """The settings of the site, without secrets."""
    found = overview.settings(visit.scope)
    home = found.get("home", "")
    return visit.render("site/settings.html", {"settings": found.items(), "home": home})


@page(Operation.NOTIFICATION_TEST, methods=("POST",))
def notify_test(visit: Visit) -> HttpResponse:
    """Send a test message to each address."""
    return visit.render("site/notify_test.html", {"results": notify.send_test(visit.scope)})


@page(Operation.DOCTOR_RUN)
def doctor(visit: Visit) -> HttpResponse:
    """Check what the host and the site need: takes some seconds, so the page comes first."""
    if not visit.is_fragment and visit.query("run") != "yes":
        return visit.render("site/doctor.html", {})
    visit.scope.permit(Operation.DOCTOR_RUN)
    found = examiner.examine(visit.scope.site.settings.home)
    bad = sum(one.outcome is not Outcome.OK for one in found)
    name = "site/doctor_part.html" if visit.is_fragment else "site/doctor.html"
    return visit.render(name, {"findings": found, "bad": bad})
