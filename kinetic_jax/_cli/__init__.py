"""Commands: thin wrappers that read options and print what the library found."""

import importlib
from typing import Any

import click

from kinetic_jax import __version__
from kinetic_jax._cli._errors import one_line_errors

# Where each command is, and the first sentence of its help: `--help` imports none of them.
COMMANDS = {
    "demo": ("_demo", "Train a flow on real digits; see how its samples move."),
    "neighbors": ("_neighbors", "The training rows nearest to each sample."),
    "memorization": ("_memorization", "The share of samples that copy training rows."),
    "sample": ("_sample", "Sample a trained field into a folder."),
    "diagnose": ("_diagnose", "What the samples of a job show."),
    "reproduce": ("_reproduce", "Measure the published claims about kinetic energy."),
    "train-models": ("_train_models", "Train the models of the claims on labelled images."),
}


class Commands(click.Group):
    """Commands that are imported when they are used, and whose errors are a line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{COMMANDS[cmd_name][0]}")
        return module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with one_line_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Measure and shape how flow-matching models move."""
