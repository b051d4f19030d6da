"""`dozo schedule …`: snapshots that are taken and removed by themselves."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dozo.cli import following, timings
from dozo.cli.client import Client, at, client_of
from dozo.cli.following import NoWait
from dozo.cli.output import (
    AsJson,
    finish,
    listed,
    print_facts,
    print_json,
    print_table,
    say,
    short,
    size,
    when,
    yes_no,
)
from dozo.cli.schedule_edit import Server, Tag, Volume, create, edit
from dozo.cli.speech import shown
from dozo.model.message import Message, counted

app = typer.Typer(
    help="Schedules: snapshots taken and removed by themselves.", no_args_is_help=True
)

app.command()(create)
app.command()(edit)

ScheduleArgument = Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")]


@app.command("list")
def list_(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List schedules."""
    with client_of(context) as client:
        rows = client.everything("/schedules", tenant=tenant)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["schedule", "name", "covers", "when", "keeps", "mode", "next run"],
        [
            [
                short(row["schedule"]),
                row["name"],
                Message(
                    "{kind} {name}",
                    kind=shown("target", row["target_kind"]),
                    name=row["target_name"],
                ),
                timings.in_words(row["timing"]),
                timings.keep_in_words(row["keep"]),
                shown("mode", row["mode"]),
                when(row["next_at"]) if row["enabled"] else Message("disabled"),
            ]
            for row in rows
        ],
        empty=Message("no schedules"),
    )


@app.command()
def show(context: typer.Context, schedule: ScheduleArgument, as_json: AsJson = False) -> None:
    """Show a schedule."""
    with client_of(context) as client:
        row = client.get(at("schedules", schedule))
    if as_json:
        print_json(row)
        return
    timing = row["timing"]
    print_facts(
        {
            "schedule": row["schedule"],
            "name": row["name"],
            "tenant": row["tenant"],
            "enabled": yes_no(row["enabled"]),
            "covers": Message(
                "{kind} {name} ({covers} now)",
                kind=shown("target", row["target_kind"]),
                name=row["target_name"],
                covers=row["covers"],
            ),
            "when": timings.in_words(timing),
            "window": _window(timing.get("window")),
            "put off by at most": Message("{count} s", count=timing.get("jitter_seconds", 0)),
            "while one goes on": shown("overlap", timing.get("overlap", "skip")),
            "mode": shown("mode", row["mode"]),
            "keeps": timings.keep_in_words(row["keep"]),
            "hooks": listed(one for one in (row["hook_before"], row["hook_after"]) if one),
            "next run": when(row["next_at"]),
        }
    )


@app.command()
def delete(context: typer.Context, schedule: ScheduleArgument, as_json: AsJson = False) -> None:
    """Remove a schedule; its snapshots stay until somebody deletes them."""
    with client_of(context) as client:
        row = client.get(at("schedules", schedule))
        client.delete(at("schedules", row["schedule"]))
    done = {"schedule": row["schedule"], "deleted": True}
    finish(done, Message("schedule {name} is deleted", name=row["name"]), as_json=as_json)


@app.command()
def enable(context: typer.Context, schedule: ScheduleArgument, as_json: AsJson = False) -> None:
    """Let a schedule run again; what it missed meanwhile is not caught up."""
    _set_enabled(context, schedule, enabled=True, as_json=as_json)


@app.command()
def disable(context: typer.Context, schedule: ScheduleArgument, as_json: AsJson = False) -> None:
    """Let a schedule rest."""
    _set_enabled(context, schedule, enabled=False, as_json=as_json)


def _set_enabled(context: typer.Context, schedule: str, *, enabled: bool, as_json: bool) -> None:
    with client_of(context) as client:
        done = client.send("PATCH", at("schedules", schedule), body={"enabled": enabled}).data
    word = Message("enabled") if enabled else Message("disabled")
    finish(
        done, Message("schedule {name} is {word}", name=done["name"], word=word), as_json=as_json
    )


@app.command()
def preview(
    context: typer.Context,
    schedule: Annotated[
        str | None, typer.Argument(help="One that is there; its options may be overridden.")
    ] = None,
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
    keep: timings.Keep = None,
    keep_hourly: timings.KeepHourly = None,
    keep_daily: timings.KeepDaily = None,
    keep_weekly: timings.KeepWeekly = None,
    keep_monthly: timings.KeepMonthly = None,
    keep_yearly: timings.KeepYearly = None,
    as_json: AsJson = False,
) -> None:
    """Show when a schedule would run, what it would keep after a year, and what that costs."""
    when_given = timings.TimingGiven(
        hourly=hourly,
        daily=daily,
        weekly=weekly,
        monthly=monthly,
        cron=cron,
        zone=zone,
        window=window,
        jitter=jitter,
    )
    kept_given = timings.KeepGiven(
        count=keep,
        hourly=keep_hourly,
        daily=keep_daily,
        weekly=keep_weekly,
        monthly=keep_monthly,
        yearly=keep_yearly,
    )
    with client_of(context) as client:
        given = {"server": server, "volume": volume, "tag": tag, "tenant": tenant}
        body = _previewed(client, schedule, when_given, kept_given)
        covers = {name: value for name, value in given.items() if value is not None}
        if covers:
            body = {"timing": body["timing"], "keep": body["keep"], **covers}
        found = client.post("/schedules/preview", body)
    if as_json:
        print_json(found)
        return
    say(Message("the next runs:"))
    for one in found["runs"]:
        say(f"  {when(one)}")
    say(Message("kept after {days} days:", days=found["days"]))
    for one in found["kept"]:
        why = listed(shown("keep", reason) for reason in one["reasons"])
        say(Message("  {at}  {why}", at=when(one["created_at"]), why=why))
    if found["estimate"]:
        _say_cost(found["estimate"], found["days"])


def _say_cost(estimate: Mapping[str, Any], days: int) -> None:
    """What it will cost, as far as earlier snapshots tell."""
    volumes = counted(estimate["volumes"], "{count} volume", "{count} volumes")
    say(
        Message(
            "probable cost here, of {volumes}, {measured} of them measured:",
            volumes=volumes,
            measured=estimate["measured"],
        )
    )
    known = estimate["measured"] > 0
    for words, name in (
        (Message("the first run"), "first"),
        (Message("each run after it"), "each_run"),
        (Message("all that is kept after {days} days", days=days), "kept"),
    ):
        one = estimate[name]
        text = Message("{low} to {high}", low=size(one["low"]), high=size(one["high"]))
        say(
            Message(
                "  {words}: {value}",
                words=words,
                value=text if known or name == "first" else Message("not known yet"),
            )
        )


def _previewed(
    client: Client,
    schedule: str | None,
    when_given: timings.TimingGiven,
    kept_given: timings.KeepGiven,
) -> dict[str, Any]:
    before = client.get(at("schedules", schedule)) if schedule else {}
    timing = when_given.timing(before.get("timing")) or before.get("timing")
    if timing is None:
        raise typer.BadParameter(
            Message("name a schedule, or say when: --daily 02:30, for example")
        )
    kept = kept_given.keep(before.get("keep"), when_given.zone) or before.get("keep")
    if kept is None:
        raise typer.BadParameter(
            Message("say what to keep: --keep 8 or --keep-daily 7, for example")
        )
    covers = {before["target_kind"]: before["target"], "tenant": before["tenant"]} if before else {}
    return {"timing": timing, "keep": kept, **covers}


@app.command()
def runs(
    context: typer.Context,
    schedule: ScheduleArgument,
    limit: Annotated[int, typer.Option(help="How many at most, newest first.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what became of a schedule's planned times, newest first."""
    with client_of(context) as client:
        rows = list(client.pages(at("schedules", schedule, "runs"), most=limit))
    if as_json:
        print_json(rows)
        return
    print_table(
        ["planned", "target", "outcome", "because", "jobs"],
        [
            [
                when(row["planned_at"]),
                row["target_name"],
                shown("run", row["outcome"]),
                row["reason"] or "-",
                listed(short(one) for one in row["jobs"]),
            ]
            for row in rows
        ],
        empty=Message("it has not run yet"),
    )


@app.command()
def run(
    context: typer.Context,
    schedule: ScheduleArgument,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Run a schedule now, beside its planned times."""
    with client_of(context) as client:
        begun = client.post(at("schedules", schedule, "run"))
        jobs = [str(job) for one in begun for job in one["jobs"]]
        results = {} if no_wait else {
            job: following.follow(client, job, as_json=as_json) for job in jobs
        }  # fmt: skip
    if as_json:
        print_json({"runs": begun, "results": results})
        return
    for one in begun:
        if not one["jobs"]:
            say(
                Message(
                    "{target}: {outcome}: {reason}",
                    target=one["target_name"],
                    outcome=shown("run", one["outcome"]),
                    reason=shown("skipped", one["reason"]),
                )
            )
    for job in jobs if no_wait else ():
        say(job)
    for done in results.values():
        say(
            counted(
                len(done["snapshots"]),
                "{name}: {count} snapshot, {consistency}",
                "{name}: {count} snapshots, {consistency}",
                name=done["name"],
                consistency=shown("consistency", done["consistency"]),
            )
        )


def _window(window: Any) -> str:
    if not window:
        return "-"
    if window.get("after_seconds"):
        return Message("{seconds} s after the planned time", seconds=window["after_seconds"])
    return Message("{first} to {last}", first=window["start"], last=window["end"])
