"""Command-line interface: commands that parse options, call the library and print results."""

import click

from kinetic_jax import __version__
from kinetic_jax._cli._group import Commands

MODULES = {
    "demo": ("kinetic_jax._cli._demo", "Train a flow on real digits; see how its samples move."),
    "neighbors": ("kinetic_jax._cli._neighbors", "The training rows nearest to each sample."),
    "memorization": (
        "kinetic_jax._cli._memorization",
        "The share of samples that copy training rows.",
    ),
    "sample": ("kinetic_jax._cli._sample", "Sample a trained field into a folder."),
    "diagnose": (
        "kinetic_jax._cli._diagnose",
        "Relate the energies of a job's samples to memorization.",
    ),
    "copies": (
        "kinetic_jax._cli._copies",
        "The risk that each sample is a copy of a training row.",
    ),
    "compare": (
        "kinetic_jax._cli._compare",
        "Compare checkpoints of a training; name the last one before it copies.",
    ),
}
cli = click.version_option(__version__)(
    Commands(MODULES, name="cli", help="Measure and shape how flow-matching models move.")
)
