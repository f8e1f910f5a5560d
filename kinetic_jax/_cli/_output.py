"""Output of commands: optional progress lines and required results."""

import contextlib
import functools
import json
from typing import Any

import click

from kinetic_jax._json import without_nan


def say(text: str) -> None:
    """Prints a progress line; a closed pipe or a full disk does not stop the work."""
    try:
        click.echo(text)
    except OSError as error:
        _note_lost(error.strerror or str(error))


@functools.cache  # once per process
def _note_lost(reason: str) -> None:
    warn(f"standard output is lost ({reason}); the work goes on")


def warn(text: str) -> None:
    """Prints a line on standard error, ignoring failures."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def answer(result: dict[str, Any]) -> None:
    """Prints the result of a command as JSON, with null for NaN.

    Raises:
        click.ClickException: if the output cannot be written.
    """
    try:
        click.echo(json.dumps(without_nan(result)))
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(f"cannot write to standard output: {reason}") from error
