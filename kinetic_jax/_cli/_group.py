"""A group of commands that are imported when they are used."""

import importlib
from typing import Any

import click

from kinetic_jax._cli._errors import one_line_errors


class Commands(click.Group):
    """Commands that are imported when they are used, and whose errors are a line each.

    Args:
        modules: the module of each command, which has it as `command`, and the first sentence of
            its help: `--help` imports none of them.
        **options: those of `click.Group`.
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
