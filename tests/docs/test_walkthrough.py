"""The walk-through is followed, command by command, and prints what it says."""

import pytest

from . import walkthrough

pytestmark = pytest.mark.libvirt


def test_what_varies_is_not_compared() -> None:
    shown = "name  size\n────\nweb  8.0 MiB\n…\nsince …\n"
    assert walkthrough.fits(shown, "name   size\n───────\nweb   9.1 KiB\nmore\nsince ever\n")
    assert not walkthrough.fits(shown, "name   size\n───────\nweb   none\nsince ever\n")
    assert not walkthrough.fits("protected", "unprotected")


def test_the_page_is_true(libvirt_host: object) -> None:
    with walkthrough.surroundings() as shell:
        wrong, _ = walkthrough.differences(walkthrough.PAGE.read_text(), shell)
    assert not wrong, "\n\n".join(["", *wrong])
