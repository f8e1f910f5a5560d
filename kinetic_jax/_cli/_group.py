"""A group of lazily imported commands."""

import importlib
from typing import Any

import click

from kinetic_jax._cli._errors import one_line_errors


class Commands(click.Group):
    """Lazily imported commands with one-line errors.

    Args:
        modules: for each command its module, with the attribute `command`, and the first sentence
            of its help: `--help` imports no module.
        **options: options of `click.Group`.
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
