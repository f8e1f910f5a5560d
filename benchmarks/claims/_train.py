"""`python -m benchmarks train`."""

from pathlib import Path

import click

from kinetic_jax._checks import require
from kinetic_jax._cli._options import FOLDER, say
from kinetic_jax._interrupt import advice_on_interrupt
from kinetic_jax.data import load_images


@click.command("train")
@click.argument("images", metavar="NAME-OR-PATH")
@click.option(
    "--data", metavar="DIR", type=FOLDER, help="A folder to look for a known set in first."
)
@click.option(
    "--out",
    type=FOLDER,
    default=Path("models-out"),
    show_default=True,
    help="Folder for the models; what is there is kept, and a training cut off goes on.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Train this model of benchmarks/claims/_variants.py instead, such as general-seed-1; "
    "can be repeated.",
)
def command(images: str, data: Path | None, out: Path, models: tuple[str, ...]) -> None:
    """Train the models of the claims on labelled images.

    A classifier, a flow of all images with labels, and a flow of the first 1,024 that comes to copy
    them, with checkpoints along the way. On Fashion-MNIST these are the models that come with the
    package: about 40 and 20 minutes on two CPU cores.
    """
    from benchmarks.claims import train_models, with_held_out
    from benchmarks.claims._variants import VARIANTS, train_variant

    for name in models:
        require(name in VARIANTS, "--model", repr(name), f"be one of {', '.join(VARIANTS)}")
    with advice_on_interrupt(f"the same command goes on from {out}"):
        labelled = with_held_out(load_images(images, data=data))
        for name in models:
            train_variant(name, labelled, out, say=say)
        if not models:
            train_models(labelled, out, say=say)
    say(f"models: {out}")
