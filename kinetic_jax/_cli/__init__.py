"""Commands: thin wrappers that read options and print what the library found."""

import click

from kinetic_jax import __version__
from kinetic_jax._cli._demo import demo
from kinetic_jax._cli._diagnose import diagnose
from kinetic_jax._cli._neighbors import memorization_command, neighbors
from kinetic_jax._cli._reproduce import reproduce_command
from kinetic_jax._cli._sample import sample
from kinetic_jax._cli._train_models import train_models_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Measure and shape how flow-matching models move."""


for command in (
    demo,
    neighbors,
    memorization_command,
    sample,
    diagnose,
    reproduce_command,
    train_models_command,
):
    cli.add_command(command)
