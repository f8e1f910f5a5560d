"""Lines of progress, which may get lost, and answers, which may not."""

import functools
import json
from typing import Any

import click

from kinetic_jax._json import without_nan


def say(text: str) -> None:
    """Prints a line of progress. A reader that closes the pipe, or a full disk, stops no work."""
    try:
        click.echo(text)
    except OSError as error:
        _note_lost(error.strerror or str(error))


@functools.cache  # once a process
def _note_lost(reason: str) -> None:
    warn(f"standard output is lost ({reason}); the work goes on")


def warn(text: str) -> None:
    """Prints a line on standard error, if anybody reads that."""
    try:
        click.echo(text, err=True)
    except OSError:
        return


def answer(result: dict[str, Any]) -> None:
    """Prints the result of a command as JSON, which has no NaN, or fails.

    Raises:
        click.ClickException: if it cannot be written.
    """
    try:
        click.echo(json.dumps(without_nan(result)))
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(f"cannot write to standard output: {reason}") from error
