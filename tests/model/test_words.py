"""Every value that people see has a word."""

from enum import Enum

import pytest

from dozo.hypervisor.definition import Network
from dozo.hypervisor.freeze import Freeze
from dozo.model import errors, job_states, policy, retention, schedule_times, states, timing
from dozo.model.words import WORDS, word, word_in
from dozo.services import access, access_rules, admission, audit, doctor, findings, protection
from dozo.services.operations import KINDS


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("copy", states.Copy),
        ("consistency", states.Consistency),
        ("mode", states.CaptureMode),
        ("tracking", states.Tracking),
        ("identity", states.Identity),
        ("job", job_states.JobState),
        ("skipped", schedule_times.SkipReason),
        ("restore-kind", policy.RestoreKind),
        ("parallel", policy.ParallelScope),
        ("copies", policy.RequiredCopies),
        ("restore-sites", policy.RestoreSites),
        ("period", retention.Period),
        ("keep", retention.KeepReason),
        ("delete", retention.DeleteReason),
        ("retention-refused", retention.Refusal),
        ("timing", timing.TimingKind),
        ("weekday", timing.Weekday),
        ("overlap", timing.Overlap),
        ("error-kind", errors.ErrorKind),
        ("protection", protection.Protection),
        ("role", access_rules.Role),
        ("actor", access.ActorKind),
        ("operation", access_rules.Operation),
        ("lane", admission.Lane),
        ("outcome", audit.Outcome),
        ("check", doctor.Outcome),
        ("finding", findings.Kind),
        ("network", Network),
        ("freeze", Freeze),
        ("preset", policy.PRESETS),
        ("operation", KINDS),
    ],
)
def test_every_value_has_a_word(kind: str, values: type[Enum] | dict[str, object]) -> None:
    codes = {str(getattr(value, "value", value)) for value in values}
    assert codes <= set(WORDS[kind])


def test_a_word_is_told_by_its_value() -> None:
    assert word("copy", states.Copy.VERIFIED) == "verified"
    assert word("yes-no", True) == "yes"
    assert word_in("en", "mode", "file") == "image file"


def test_what_a_newer_version_knows_is_shown_as_it_is() -> None:
    assert word("copy", "frozen") == word_in("ja", "copy", "frozen") == "frozen"
    assert word("nothing", "x") == "x"
