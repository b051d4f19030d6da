"""What `snapshot create` and `recovery-point create` have in common."""

from typing import TYPE_CHECKING, Annotated

import typer

from dozo.cli.output import note_facts, print_table, say, short, size
from dozo.model.states import CaptureMode

if TYPE_CHECKING:
    from dozo.services.protect import Protected

Name = Annotated[str | None, typer.Option(help="A name for it; made up unless given.")]
Mode = Annotated[
    CaptureMode | None,
    typer.Option(help="live, offline or unmounted; what fits the server's state unless given."),
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


def show_made(made: "Protected") -> None:
    """Print a recovery point or snapshot that was just taken."""
    print_table(
        ["snapshot", "volume", "size", "read", "new", "stored", "seconds", "read in full because"],
        [
            [
                short(one.snapshot),
                f"{one.volume} ({one.device})" if one.device else one.volume,
                size(one.bytes_volume),
                size(one.bytes_read),
                size(one.bytes_new),
                size(one.bytes_stored),
                f"{one.seconds:.1f}",
                one.full_reason_words or "-",
            ]
            for one in made.snapshots
        ],
        empty="nothing was taken",
    )
    for one in made.left_out:
        say(f"left out: {one.device} ({one.reason})")
    frozen = f", frozen for {made.freeze_ms} ms" if made.freeze_ms is not None else ""
    say(f"{made.mode.value}, {made.consistency.value}{frozen}")
    for name, text in note_facts(made.notes).items():
        say(f"{name}: {text}")
    if made.recovery_point:
        say(f"recovery point {made.name} ({short(made.recovery_point)})")
