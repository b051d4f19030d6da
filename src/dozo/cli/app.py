"""The command `dozo`: its groups, the home, and what happens to errors."""

import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from dozo.cli import (
    account,
    audit,
    exits,
    hold,
    job,
    overview,
    policy,
    recovery_point,
    schedule,
    server,
    setup,
    site,
    snapshot,
    template,
    tenant,
    token,
    user,
    vault,
    volume,
)
from dozo.cli.client import ServiceProblem
from dozo.cli.opened import Chosen
from dozo.cli.speech import language, told
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.language import DEFAULT
from dozo.model.message import Message

# Typer carries a click of its own; its public names lead to the base of all usage errors.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="dozo",
    help="Volume backup and disaster recovery for KVM servers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("init")(setup.init)
app.command("serve")(setup.serve)
app.command("worker")(setup.worker)
app.command("doctor")(setup.doctor)
app.command("overview")(overview.overview)
app.command("login")(account.login)
app.command("logout")(account.logout)
app.command("whoami")(account.whoami)
app.command("account")(account.account)
app.command("password")(account.password)
for name, group in (
    ("server", server.app),
    ("volume", volume.app),
    ("snapshot", snapshot.app),
    ("recovery-point", recovery_point.app),
    ("template", template.app),
    ("schedule", schedule.app),
    ("hold", hold.app),
    ("job", job.app),
    ("site", site.app),
    ("tenant", tenant.app),
    ("policy", policy.app),
    ("user", user.app),
    ("token", token.app),
    ("audit", audit.app),
    ("vault", vault.app),
):
    app.add_typer(group, name=name)


@app.callback()
def _choose(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            envvar="DOZO_HOME",
            help="The folder of a site on this host.",
            show_envvar=True,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            envvar="DOZO_PROFILE",
            help="A service elsewhere, as `dozo login` knows it.",
            show_envvar=True,
        ),
    ] = None,
) -> None:
    # What was typed counts more than what the environment says.
    typed = context.get_parameter_source("home")
    if profile is not None and typed is not None and typed.name == "COMMANDLINE":
        named = context.get_parameter_source("profile")
        if named is not None and named.name == "COMMANDLINE":
            raise typer.BadParameter(Message("give --home or --profile, not both"))
        profile = None
    context.obj = Chosen(home=home, profile=profile)


def run(arguments: Sequence[str]) -> int:  # noqa: PLR0911  one return an outcome
    """Run one command line; the exit code. Prints every error, raises none."""
    as_json = "--json" in arguments
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        result = app(args=list(arguments), prog_name="dozo", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except DozoError as error:
        return exits.report(error, as_json=as_json)
    except ServiceProblem as problem:
        return exits.report_problem(problem, as_json=as_json)
    except _UsageError as error:
        return _usage(error, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write(told(Message("interrupted")) + "\n")
        return exits.INTERRUPTED
    except exits.Terminated:
        sys.stderr.write(told(Message("terminated")) + "\n")
        return exits.TERMINATED
    except BrokenPipeError:
        # Whoever read our output has enough of it (`dozo … | head`).
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001  the last resort: never a traceback for the user
        return exits.report_unexpected(error, as_json=as_json)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise exits.Terminated


# What click says of most mistakes; it has no translations of its own.
_OF_CLICK: tuple[tuple[re.Pattern[str], Callable[..., Message]], ...] = (
    (
        re.compile(r"No such command '(.*?)'\..*"),
        lambda x: Message("No such command '{name}'.", name=x),
    ),
    (re.compile(r"No such option: (\S+).*"), lambda x: Message("No such option: {name}", name=x)),
    (
        re.compile(r"Missing argument '(.*)'\."),
        lambda x: Message("Missing argument '{name}'.", name=x),
    ),
    (re.compile(r"Missing option '(.*)'\."), lambda x: Message("Missing option '{name}'.", name=x)),
    (
        re.compile(r"Option '(.*)' requires an argument\."),
        lambda x: Message("Option '{name}' requires an argument.", name=x),
    ),
    (
        re.compile(r"Got unexpected extra argument\S* \((.*)\)"),
        lambda x: Message("Got unexpected extra arguments ({names})", names=x),
    ),
    (
        re.compile(r"(?s)Invalid value for (.*?): (.*)"),
        lambda x, y: Message("Invalid value for {name}: {problem}", name=x, problem=y),
    ),
)


def _told(error: Exception) -> str:
    """What a usage error says: ours in the terminal's language, click's own as it is."""
    own = getattr(error, "message", "")
    text = str(error.format_message() if hasattr(error, "format_message") else error)
    if language() == DEFAULT:
        return text
    if isinstance(own, Message):
        return told(own)
    for form, message in _OF_CLICK:
        if found := form.fullmatch(text):
            return told(message(*found.groups()))
    return text


def _usage(error: Exception, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "dozo"
    message = _told(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n")
        return exits.EXIT_CODES[ErrorKind.USAGE]
    return exits.report_usage(message, Message("See `{path} --help`.", path=path), as_json=as_json)
