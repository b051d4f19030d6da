"""Policies as values: the presets rule by rule, overrides, and what is refused."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dozo.model.errors import ErrorKind
from dozo.model.policy import (
    FOUR_STEPS,
    KCPS_V1,
    MODERN,
    PRESETS,
    TENANT_MODES,
    Policy,
    PolicyInvalid,
    PolicyPresetUnknown,
    RestoreKind,
    overridden,
    overrides_of,
    policy_from_json,
    policy_to_json,
    preset,
)
from dozo.model.policy_checks import (
    GenerationsRefused,
    GfsRefused,
    HooksRefused,
    ModeRefused,
    PolicyRefused,
    QuotaExceeded,
    RecoveryPointRefused,
    Resources,
    RestoreKindRefused,
    RestoreLimitRefused,
    RestorePlaceRefused,
    RestoreSiteRefused,
    RootNotUnmounted,
    ScheduleKindRefused,
    Stored,
    VolumesRefused,
    may_start,
    refuse_generations,
    refuse_hooks,
    refuse_mode,
    refuse_quota,
    refuse_recovery_point,
    refuse_restore_kind,
    refuse_restore_limits,
    refuse_restore_place,
    refuse_restore_site,
    refuse_timing,
    refuse_volumes,
    sites_needed,
)
from dozo.model.retention import Keep
from dozo.model.states import CaptureMode
from dozo.model.timing import Timing, TimingKind


def allows(check: Any, *args: Any, **kwargs: Any) -> type[PolicyRefused] | None:
    """None, or the class of the refusal; every refusal must say what, by whom and what to do."""
    try:
        check(*args, **kwargs)
    except PolicyRefused as caught:
        error = caught
    else:
        return None
    assert error.kind is ErrorKind.REFUSED
    assert error.code.startswith("policy.")
    assert error.setting in Policy.__dataclass_fields__
    assert "{" not in str(error) + error.hint_text()
    assert error.hint_text().endswith(".")
    return type(error)


def test_rule_2_schedules() -> None:
    for kind in ("hourly", "daily"):
        timing = Timing(kind=TimingKind(kind))
        assert allows(refuse_timing, KCPS_V1, timing) is None
        assert allows(refuse_timing, MODERN, timing) is None
    cron = Timing(kind=TimingKind.CRON, cron="0 2 * * *")
    assert allows(refuse_timing, KCPS_V1, cron) is ScheduleKindRefused
    assert allows(refuse_timing, MODERN, cron) is None


@pytest.mark.parametrize("policy", [KCPS_V1, MODERN], ids=lambda policy: policy.preset)
def test_rule_3_every_site_must_hold_a_copy(policy: Policy) -> None:
    assert sites_needed(policy, "main", ["dr"]) == {"main", "dr"}
    own = overridden(policy, {"required_copies": "own"})
    assert sites_needed(own, "main", ["dr"]) == {"main"}


def test_rule_6_restore_only_at_the_origin() -> None:
    assert allows(refuse_restore_site, KCPS_V1, "main", "main") is None
    assert allows(refuse_restore_site, KCPS_V1, "main", "dr") is RestoreSiteRefused
    assert allows(refuse_restore_site, KCPS_V1, "dr", "dr") is None
    assert allows(refuse_restore_site, MODERN, "main", "dr") is None


@pytest.mark.parametrize(
    ("mode", "is_root", "kcps", "modern"),
    [
        (CaptureMode.LIVE, True, ModeRefused, None),
        (CaptureMode.LIVE, False, ModeRefused, None),
        (CaptureMode.OFFLINE, True, None, None),
        (CaptureMode.OFFLINE, False, None, None),
        (CaptureMode.UNMOUNTED, True, RootNotUnmounted, RootNotUnmounted),
        (CaptureMode.UNMOUNTED, False, None, None),
        (CaptureMode.FILE, False, ModeRefused, ModeRefused),
    ],
)
def test_rules_7_and_13_modes(mode: CaptureMode, is_root: bool, kcps: Any, modern: Any) -> None:
    assert allows(refuse_mode, KCPS_V1, mode, is_root=is_root) is kcps
    assert allows(refuse_mode, MODERN, mode, is_root=is_root) is modern


def test_rule_9_one_volume_a_request_and_no_recovery_points() -> None:
    assert allows(refuse_volumes, KCPS_V1, 1) is None
    assert allows(refuse_volumes, KCPS_V1, 2) is VolumesRefused
    assert allows(refuse_recovery_point, KCPS_V1) is RecoveryPointRefused
    assert allows(refuse_volumes, MODERN, 50) is None
    assert allows(refuse_recovery_point, MODERN) is None


def test_rule_9_one_snapshot_at_a_time_per_server_or_per_tenant() -> None:
    assert may_start(KCPS_V1, running_of_server=0, running_of_tenant=5)
    assert not may_start(KCPS_V1, running_of_server=1, running_of_tenant=1)
    tenant = overridden(KCPS_V1, {"parallel_scope": "tenant"})
    assert not may_start(tenant, running_of_server=0, running_of_tenant=1)
    assert may_start(tenant, running_of_server=0, running_of_tenant=0)
    assert may_start(MODERN, running_of_server=100, running_of_tenant=1000)


@pytest.mark.parametrize(
    ("keep", "kcps"),
    [
        (Keep(count=1), None),
        (Keep(count=8), None),
        (Keep(count=9), GenerationsRefused),
        (Keep(daily=2), GfsRefused),
    ],
)
def test_rule_10_one_to_eight_generations(keep: Keep, kcps: Any) -> None:
    assert allows(refuse_generations, KCPS_V1, keep) is kcps
    assert allows(refuse_generations, MODERN, keep) is None


def test_a_limit_of_generations_holds_for_periods_together() -> None:
    policy = overridden(MODERN, {"max_generations": 8})
    assert allows(refuse_generations, policy, Keep(daily=5, weekly=3)) is None
    assert allows(refuse_generations, policy, Keep(daily=5, weekly=4)) is GenerationsRefused


def test_rule_13_no_call_into_the_guest() -> None:
    assert allows(refuse_hooks, KCPS_V1) is HooksRefused
    assert allows(refuse_hooks, MODERN) is None


@pytest.mark.parametrize("kind", RestoreKind)
def test_rule_15_the_four_steps_only(kind: RestoreKind) -> None:
    expected = None if kind in FOUR_STEPS else RestoreKindRefused
    assert allows(refuse_restore_kind, KCPS_V1, kind) is expected
    assert allows(refuse_restore_kind, MODERN, kind) is None


def test_where_a_tenant_may_restore() -> None:
    policy = overridden(MODERN, {"restore_networks": ["lab"], "restore_hosts": []})
    assert allows(refuse_restore_place, policy, networks=["lab"], pools=["any"]) is None
    assert allows(refuse_restore_place, policy, networks=["lab", "prod"]) is RestorePlaceRefused
    assert allows(refuse_restore_place, policy, hosts=["h1"]) is RestorePlaceRefused
    assert allows(refuse_restore_place, MODERN, networks=["x"], pools=["y"], hosts=["z"]) is None


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("max_servers", "servers"),
        ("max_cpus", "cpus"),
        ("max_memory_bytes", "memory_bytes"),
        ("max_disk_bytes", "disk_bytes"),
    ],
)
def test_how_much_a_tenant_may_restore(setting: str, field: str) -> None:
    policy = overridden(MODERN, {setting: 10})

    def check(used: int, planned: int) -> Any:
        have, want = Resources(**{field: used}), Resources(**{field: planned})
        return allows(refuse_restore_limits, policy, have, want)

    assert check(7, 3) is None
    assert check(7, 4) is RestoreLimitRefused
    assert check(12, 0) is None  # a limit that was lowered takes nothing away
    assert allows(refuse_restore_limits, MODERN, Resources(), Resources(servers=10**6)) is None


def test_quotas() -> None:
    policy = overridden(MODERN, {"quota_stored_bytes": 100, "quota_snapshots": 3})

    def check(used: tuple[int, int], planned: tuple[int, int]) -> Any:
        have = Stored(stored_bytes=used[0], snapshots=used[1])
        want = Stored(stored_bytes=planned[0], snapshots=planned[1])
        return allows(refuse_quota, policy, have, want)

    assert check((60, 2), (40, 1)) is None
    assert check((60, 2), (41, 1)) is QuotaExceeded
    assert check((99, 2), (0, 1)) is None
    assert check((100, 2), (0, 1)) is QuotaExceeded
    assert check((0, 3), (0, 1)) is QuotaExceeded
    assert check((0, 9), (1, 0)) is None
    full = Stored(stored_bytes=10**18, snapshots=10**9)
    assert allows(refuse_quota, MODERN, full, full) is None


def test_modern_limits_nothing() -> None:
    assert MODERN.capture_modes == TENANT_MODES
    for name, value in policy_to_json(MODERN).items():
        if name.startswith(("max_", "quota_", "restore_networks", "restore_pools")):
            assert value is None, name


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        ({"colour": "red"}, "a setting"),
        ({"preset": "modern"}, "a setting"),
        ({"gfs": 1}, "gfs"),
        ({"gfs": "yes"}, "gfs"),
        ({"gfs": None}, "gfs"),
        ({"max_generations": 0}, "max_generations"),
        ({"max_generations": True}, "max_generations"),
        ({"max_generations": 2.5}, "max_generations"),
        ({"max_generations": "8"}, "max_generations"),
        ({"quota_stored_bytes": -1}, "quota_stored_bytes"),
        ({"parallel_snapshots": 0}, "parallel_snapshots"),
        ({"parallel_scope": "site"}, "parallel_scope"),
        ({"restore_sites": None}, "restore_sites"),
        ({"capture_modes": "live"}, "capture_modes"),
        ({"capture_modes": ["file"]}, "capture_modes"),
        ({"capture_modes": [1]}, "capture_modes"),
        ({"restore_kinds": ["teleport"]}, "restore_kinds"),
        ({"restore_networks": "lab"}, "restore_networks"),
        ({"restore_networks": [""]}, "restore_networks"),
        ({"one_volume_per_request": True}, "recovery_points"),
    ],
)
def test_overrides_that_cannot_be(overrides: dict[str, Any], setting: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        overridden(MODERN, overrides)
    assert caught.value.setting == setting
    assert caught.value.kind is ErrorKind.USAGE
    assert caught.value.hint_text().endswith(".")


def test_a_preset_that_does_not_exist() -> None:
    with pytest.raises(PolicyPresetUnknown, match="kcps-v9"):
        policy_from_json({"preset": "kcps-v9"})
    with pytest.raises(PolicyPresetUnknown):
        preset("")


limits = st.one_of(st.none(), st.integers(1, 10**15))
names = st.one_of(st.none(), st.lists(st.text(min_size=1, max_size=5), max_size=3))
some_overrides = st.fixed_dictionaries(
    {},
    optional={
        "capture_modes": st.lists(st.sampled_from(sorted(TENANT_MODES)), unique=True),
        "recovery_points": st.just(False),
        "gfs": st.booleans(),
        "guest_hooks": st.booleans(),
        "parallel_snapshots": limits,
        "parallel_scope": st.sampled_from(["server", "tenant"]),
        "schedule_kinds": st.lists(st.sampled_from(sorted(TimingKind)), unique=True),
        "max_generations": limits,
        "required_copies": st.sampled_from(["all", "own"]),
        "restore_sites": st.sampled_from(["any", "origin"]),
        "restore_kinds": st.lists(st.sampled_from(sorted(RestoreKind)), unique=True),
        "restore_networks": names,
        "restore_pools": names,
        "restore_hosts": names,
        "max_servers": limits,
        "max_cpus": limits,
        "quota_stored_bytes": limits,
        "quota_snapshots": limits,
    },
)


@given(st.sampled_from(sorted(PRESETS)), some_overrides)
def test_a_policy_comes_back_from_json_and_from_its_overrides(
    name: str, overrides: dict[str, Any]
) -> None:
    policy = overridden(preset(name), overrides)
    assert policy_from_json(policy_to_json(policy)) == policy
    assert overridden(preset(name), overrides_of(policy)) == policy
    assert set(overrides_of(policy)) <= set(overrides)


def test_a_record_of_an_older_version_takes_the_presets_value() -> None:
    assert policy_from_json({"preset": "kcps-v1", "max_generations": 4}) == overridden(
        KCPS_V1, {"max_generations": 4}
    )


@given(st.dictionaries(st.sampled_from(sorted(Policy.__dataclass_fields__)), st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=4), st.floats(),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=2),
)))  # fmt: skip
def test_nothing_but_our_errors_comes_of_bad_json(data: dict[str, Any]) -> None:
    with contextlib.suppress(PolicyInvalid, PolicyPresetUnknown):
        policy_from_json(data)
