"""A group of lazily imported commands, whose errors are one line and an exit status."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from kinetic_jax._interrupt import EXIT_STATUS, interrupted

# Packages of the extra `demo`, by import name.
EXTRAS = {
    "PIL": "Pillow",
    "jinja2": "Jinja2",
    "matplotlib": "Matplotlib",
    "pooch": "Pooch",
    "sklearn": "scikit-learn",
}


def missing(package: str) -> click.ClickException:
    """The error for a missing optional package."""
    return click.ClickException(
        f"this needs the package {EXTRAS[package]}: pip install 'kinetic_jax[demo]' (from a clone: "
        "pip install -e '.[demo]')"
    )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns errors about input, files, devices and missing packages into one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        if package not in EXTRAS:
            raise
        raise missing(package) from error
    except KeyboardInterrupt as interrupt:
        click.echo(interrupted(str(interrupt)), err=True)
        raise click.exceptions.Exit(EXIT_STATUS) from None
    except (OSError, ValueError, FloatingPointError) as error:
        raise click.ClickException(str(error)) from error
    except (click.exceptions.Exit, click.Abort):
        raise
    except (RuntimeError, AssertionError) as error:
        _refuse_without_device()
        raise error


def _refuse_without_device() -> None:
    """Raises if JAX finds no device, the cause of the failure."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # AssertionError without a message: no plugin
        platforms = os.environ.get("JAX_PLATFORMS", "")
        reason = " ".join(str(error).split())
        raise click.ClickException(
            f"JAX found no device for JAX_PLATFORMS={platforms!r}"
            + (f": {reason}" if reason else "; JAX_PLATFORMS=cpu computes on the processor")
        ) from error


class Commands(click.Group):
    """Lazily imported commands with one-line errors.

    `modules` has for each command its module, with the attribute `command`, and the first sentence
    of its help: `--help` imports no module.
    """

    def __init__(self, modules: dict[str, tuple[str, str]], **options: Any):
        super().__init__(context_settings={"help_option_names": ["-h", "--help"]}, **options)
        self.modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        return importlib.import_module(self.modules[cmd_name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.modules.items()])

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with one_line_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)
