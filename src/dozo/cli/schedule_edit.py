"""`dozo schedule create` and `edit`: the same options, all or some of them."""

from typing import Annotated, Any

import typer

from dozo.cli import timings
from dozo.cli.client import at, client_of
from dozo.cli.output import AsJson, finish, when
from dozo.cli.protecting import ForceStop, Freeze, HookAfter, HookBefore, ModeOption
from dozo.model.message import Message

Server = Annotated[str | None, typer.Option(help="The server to cover.")]
Volume = Annotated[str | None, typer.Option(help="The volume to cover.")]
Tag = Annotated[str | None, typer.Option(help="Cover every server with this tag.")]
StatedUnmounted = Annotated[
    bool | None,
    typer.Option(
        "--stated-unmounted/--not-stated-unmounted",
        help="Mode unmounted: the guest unmounts the volume by itself before.",
    ),
]
StopTimeout = Annotated[
    int | None, typer.Option(help="Seconds that the guest may take to stop.", min=1)
]
HookTimeout = Annotated[int | None, typer.Option(help="Seconds that a hook may take.", min=1)]
KeepPeer = Annotated[
    int | None, typer.Option(help="Generations that the peer keeps; as many unless given.", min=1)
]


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The schedule's name.")],
    server: Server = None,
    volume: Volume = None,
    tag: Tag = None,
    tenant: Annotated[
        str | None, typer.Option(help="Whose servers --tag covers (operators).")
    ] = None,
    hourly: timings.Hourly = None,
    daily: timings.Daily = None,
    weekly: timings.Weekly = None,
    monthly: timings.Monthly = None,
    cron: timings.Cron = None,
    zone: timings.Zone = None,
    window: timings.Window = None,
    jitter: timings.Jitter = None,
    overlap: timings.OverlapOption = None,
    keep: timings.Keep = None,
    keep_hourly: timings.KeepHourly = None,
    keep_daily: timings.KeepDaily = None,
    keep_weekly: timings.KeepWeekly = None,
    keep_monthly: timings.KeepMonthly = None,
    keep_yearly: timings.KeepYearly = None,
    keep_min_age: timings.KeepMinAge = None,
    keep_peer: KeepPeer = None,
    mode: ModeOption = None,
    freeze: Freeze = True,
    stated_unmounted: StatedUnmounted = None,
    stop_timeout: StopTimeout = None,
    force_stop: ForceStop = False,
    hook_before: HookBefore = None,
    hook_after: HookAfter = None,
    hook_timeout: HookTimeout = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Do not run it yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a schedule: what it covers, when it runs, what it keeps."""
    when_given = timings.TimingGiven(
        hourly=hourly, daily=daily, weekly=weekly, monthly=monthly, cron=cron, zone=zone,
        window=window, jitter=jitter, overlap=overlap,
    )  # fmt: skip
    kept_given = timings.KeepGiven(
        count=keep, hourly=keep_hourly, daily=keep_daily, weekly=keep_weekly,
        monthly=keep_monthly, yearly=keep_yearly, min_age=keep_min_age,
    )  # fmt: skip
    if sum(one is not None for one in (server, volume, tag)) != 1:
        raise typer.BadParameter(Message("give exactly one of --server, --volume and --tag"))
    timing = when_given.timing()
    kept = kept_given.keep(zone=zone)
    if timing is None:
        raise typer.BadParameter(
            Message("say when: --hourly, --daily, --weekly, --monthly or --cron")
        )
    if kept is None:
        raise typer.BadParameter(
            Message("say what to keep: --keep 8 or --keep-daily 7, for example")
        )
    body = {
        "name": name, "server": server, "volume": volume, "tag": tag, "tenant": tenant,
        "timing": timing, "keep": kept,
        "keep_peer": {"count": keep_peer} if keep_peer is not None else None,
        "mode": mode.value if mode else None, "freeze": freeze, "force_stop": force_stop,
        "stated_unmounted": stated_unmounted, "stop_timeout_seconds": stop_timeout,
        "hook_before": hook_before, "hook_after": hook_after,
        "hook_timeout_seconds": hook_timeout, "enabled": not disabled,
    }  # fmt: skip
    with client_of(context) as client:
        made = client.post("/schedules", _given(body))
    first = when(made["next_at"]) if made["next_at"] else Message("never: it is disabled")
    finish(
        made,
        Message("schedule {name} runs next {first}", name=made["name"], first=first),
        as_json=as_json,
    )


def edit(
    context: typer.Context,
    schedule: Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")],
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    server: Server = None,
    volume: Volume = None,
    tag: Tag = None,
    hourly: timings.Hourly = None,
    daily: timings.Daily = None,
    weekly: timings.Weekly = None,
    monthly: timings.Monthly = None,
    cron: timings.Cron = None,
    zone: timings.Zone = None,
    window: timings.Window = None,
    jitter: timings.Jitter = None,
    overlap: timings.OverlapOption = None,
    keep: timings.Keep = None,
    keep_hourly: timings.KeepHourly = None,
    keep_daily: timings.KeepDaily = None,
    keep_weekly: timings.KeepWeekly = None,
    keep_monthly: timings.KeepMonthly = None,
    keep_yearly: timings.KeepYearly = None,
    keep_min_age: timings.KeepMinAge = None,
    keep_peer: KeepPeer = None,
    mode: ModeOption = None,
    freeze: Annotated[
        bool | None,
        typer.Option("--freeze/--no-freeze", help="Freeze the guest's file systems if it can."),
    ] = None,
    stated_unmounted: StatedUnmounted = None,
    stop_timeout: StopTimeout = None,
    force_stop: Annotated[
        bool | None,
        typer.Option(
            "--force-stop/--no-force-stop",
            help="Mode stop-snapshot-start: cut the power after the timeout.",
        ),
    ] = None,
    hook_before: HookBefore = None,
    hook_after: HookAfter = None,
    hook_timeout: HookTimeout = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a schedule; a new time counts from now on."""
    when_given = timings.TimingGiven(
        hourly=hourly, daily=daily, weekly=weekly, monthly=monthly, cron=cron, zone=zone,
        window=window, jitter=jitter, overlap=overlap,
    )  # fmt: skip
    kept_given = timings.KeepGiven(
        count=keep, hourly=keep_hourly, daily=keep_daily, weekly=keep_weekly,
        monthly=keep_monthly, yearly=keep_yearly, min_age=keep_min_age,
    )  # fmt: skip
    with client_of(context) as client:
        found = client.send("GET", at("schedules", schedule))
        before = found.data
        body = {
            "name": name, "server": server, "volume": volume, "tag": tag,
            "timing": when_given.timing(before["timing"]),
            "keep": kept_given.keep(before["keep"], zone),
            "keep_peer": {"count": keep_peer} if keep_peer is not None else None,
            "mode": mode.value if mode else None, "freeze": freeze, "force_stop": force_stop,
            "stated_unmounted": stated_unmounted, "stop_timeout_seconds": stop_timeout,
            "hook_before": hook_before, "hook_after": hook_after,
            "hook_timeout_seconds": hook_timeout,
        }  # fmt: skip
        path = at("schedules", before["schedule"])
        # What somebody else changed meanwhile must not be undone unseen.
        done = client.change("PATCH", path, _given(body), read=found)
    line = Message(
        "schedule {name} runs next {first}", name=done["name"], first=when(done["next_at"])
    )
    finish(done, line, as_json=as_json)


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}
