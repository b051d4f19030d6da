"""What `snapshot create` and `recovery-point create` have in common."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from dozo.cli.output import note_facts, print_table, say, short, size
from dozo.cli.speech import heading, language, shown, told
from dozo.model.message import Message, joined
from dozo.model.words import word_in


class Mode(StrEnum):
    """How a snapshot is taken."""

    LIVE = "live"
    OFFLINE = "offline"
    UNMOUNTED = "unmounted"
    STOP = "stop-snapshot-start"


Name = Annotated[str | None, typer.Option(help="A name for it; made up unless given.")]
ModeOption = Annotated[
    Mode | None,
    typer.Option("--mode", help="How it is taken; what fits the server's state unless given."),
]
StatedUnmounted = Annotated[
    bool,
    typer.Option(
        "--stated-unmounted",
        help="Mode unmounted without a guest agent: you state that the guest has unmounted it.",
    ),
]
Freeze = Annotated[
    bool, typer.Option("--freeze/--no-freeze", help="Freeze the guest's file systems if it can.")
]
Full = Annotated[bool, typer.Option("--full", help="Read everything, whatever tracking says.")]
StopTimeout = Annotated[
    int | None,
    typer.Option(help="Mode stop-snapshot-start: seconds that the guest may take to stop."),
]
ForceStop = Annotated[
    bool, typer.Option("--force-stop", help="Mode stop-snapshot-start: cut the power after that.")
]
HookBefore = Annotated[str | None, typer.Option(help="A hook of dozo.toml to run before.")]
HookAfter = Annotated[str | None, typer.Option(help="A hook of dozo.toml to run after.")]


def capture_body(
    *,
    name: str | None,
    mode: Mode | None,
    stated_unmounted: bool,
    freeze: bool,
    full: bool,
    stop_timeout: int | None,
    force_stop: bool,
    hook_before: str | None,
    hook_after: str | None,
) -> dict[str, Any]:
    given = {
        "name": name,
        "mode": mode.value if mode else None,
        "stop_timeout_seconds": stop_timeout,
        "hook_before": hook_before,
        "hook_after": hook_after,
    }
    return {
        "stated_unmounted": stated_unmounted,
        "freeze": freeze,
        "full": full,
        "force_stop": force_stop,
        **{key: value for key, value in given.items() if value is not None},
    }


def show_made(made: Mapping[str, Any]) -> None:
    """Print a recovery point or snapshot that was just taken."""
    print_table(
        ["snapshot", "volume", "size", "read", "new", "stored", "seconds", "read in full because"],
        [
            [
                short(one["snapshot"]),
                f"{one['volume']} ({one['device']})" if one["device"] else one["volume"],
                size(one["bytes_volume"]),
                size(one["bytes_read"]),
                size(one["bytes_new"]),
                size(one["bytes_stored"]),
                "-" if one["seconds"] is None else f"{one['seconds']:.1f}",
                word_in(language(), "full-reason", one["full_reason"])
                if one["full_reason"]
                else "-",
            ]
            for one in made["snapshots"]
        ],
        empty=Message("nothing was taken"),
    )
    for one in made["left_out"]:
        say(Message("left out: {device} ({reason})", device=one["device"], reason=one["reason"]))
    frozen = (
        Message(", frozen for {freeze_ms} ms", freeze_ms=made["freeze_ms"])
        if made["freeze_ms"] is not None
        else ""
    )
    say(joined([shown("mode", made["mode"]), shown("consistency", made["consistency"])]) + frozen)
    for name, text in note_facts(made.get("notes") or {}).items():
        say(Message("{name}: {text}", name=told(heading(name)), text=text))
    if made["recovery_point"]:
        say(
            Message(
                "recovery point {name} ({id})", name=made["name"], id=short(made["recovery_point"])
            )
        )
