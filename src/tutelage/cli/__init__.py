"""The command line: what was typed goes in, an exit status comes out.

0 done; 2 what the user gave is wrong (three lines on standard error); 3 the answer is "no"; 130
stopped by ctrl-C. A bug of ours keeps its traceback and Python's status 1.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

import typer

from tutelage.cli.verbs import app
from tutelage.errors import TutelageError, nearest

# Typer's own exceptions come from a package whose place has changed between its versions.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # pyright: ignore[reportAssignmentType]

USER, NO, INTERRUPTED = 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave Python with its exit status."""
    sys.exit(answered(sys.argv[1:] if arguments is None else arguments))


def answered(arguments: Sequence[str]) -> int:
    """The exit status of a command line, after what it had to say was said; no verb asks for help."""
    arguments = list(arguments) or ["--help"]
    command = typer.main.get_command(app)
    try:
        # The app gives back what a verb returned, which is None or the status of `typer.Exit`.
        status = command.main(arguments, prog_name="tutelage", standalone_mode=False)
        sys.stdout.flush()
        return _stopped(arguments) if status == INTERRUPTED else status if isinstance(status, int) else 0
    except TutelageError as error:
        return _said(error)
    except UsageError as error:
        return _said(_misused(error, list(command.commands)))  # pyright: ignore[reportAttributeAccessIssue]
    except (KeyboardInterrupt, typer.Abort):
        return _stopped(arguments)
    except (BrokenPipeError, SystemExit) as error:
        # Typer leaves Python itself when nobody reads what it prints.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # Whoever read us has read enough; Python would complain again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _stopped(arguments: list[str]) -> int:
    kept = "last checkpoint" if arguments[:1] in (["run"], ["demo"]) else ""
    kept = "shards that are there" if arguments[:2] == ["cache", "build"] else kept
    kept = "pieces that are done" if arguments[:1] == ["reproduce"] else kept
    goes_on = f"; the same command goes on from the {kept}:\n  {shlex.join(['tutelage', *arguments])}"
    print("\nstopped" + (goes_on if kept else ""), file=sys.stderr)
    return INTERRUPTED


def _said(error: TutelageError) -> int:
    print(error, file=sys.stderr)
    return USER


def _misused(error: Exception, verbs: list[str]) -> TutelageError:
    """Typer's complaint about the command line in the form of ours."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tutelage"
    said = " ".join(str(getattr(error, "message", "") or error).split()).rstrip(".")
    name = getattr(getattr(error, "param", None), "name", None)
    if name and name not in said:
        said = f"{name}: {said}"
    verbs = list(getattr(getattr(context, "command", None), "commands", verbs))
    unknown = said.startswith("No such command")
    typed = said.split("'")[1] if unknown and said.count("'") >= 2 else ""
    close = nearest(typed, verbs)
    usage = context.get_usage().removeprefix("Usage: ") if context is not None else "tutelage VERB"
    return TutelageError(
        f"{path}: {said or 'a verb is missing'}",
        expected=", ".join(verbs) if unknown else " ".join(usage.split()),
        fix=f"write `{path} {close}` (the nearest verb)" if close else f"`{path} --help` explains it",
    )
