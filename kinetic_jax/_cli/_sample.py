"""`kinetic-jax sample`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jax

from kinetic_jax._cli._options import FOLDER
from kinetic_jax._cli._output import say
from kinetic_jax._interrupt import advice_on_interrupt
from kinetic_jax.jobs import SOLVERS, JobSettings, find_field, read_grid, read_labels, run_job
from kinetic_jax.transforms import LANDING_SHAPES, LAUNCH_SHAPES

DEFAULTS = JobSettings(n=1)


def _setting(
    name: str, kind: click.ParamType | type | tuple[type, ...], text: str, **options: Any
) -> Callable[..., Any]:
    """The option of a job setting, with the default of `JobSettings`."""
    default = getattr(DEFAULTS, name)
    shown = default is not None and not isinstance(default, bool)
    flag = "--" + name.replace("_", "-")
    return click.option(
        flag, name, type=kind, default=default, show_default=shown, help=text, **options
    )


_POSITIVE = click.IntRange(min=1)


# fmt: off
@click.command("sample")
@click.option("--field", required=True,
              help="Folder of save_field or fit (the demo leaves one), or a model's name.")
@click.option("--n", type=_POSITIVE, required=True, help="Number of samples.")
@click.option("--out", type=FOLDER, required=True,
              help="Folder for the shards.")
@_setting("seed", click.IntRange(min=0),
          "Seed of the noise: sample i depends on (seed, i) alone.")
@click.option("--batch", type=_POSITIVE, default=256, show_default=True,
              help="Samples computed together; affects only speed and rounding.")
@_setting("shard_size", _POSITIVE, "Samples per file.")
@_setting("alpha0", float, "Gain of the launch.")
@_setting("beta0", float, "Damping of the landing.")
@_setting("tau_split", float, "End of the launch; the energy is split there.")
@_setting("launch", click.Choice(list(LAUNCH_SHAPES)), "Shape of the launch.")
@_setting("landing", click.Choice(list(LANDING_SHAPES)), "Shape of the landing.")
@_setting("k", float, "Steepness of the exponential shapes.")
@_setting("allow_reversal", bool, "Let strengths stop or reverse the flow.", is_flag=True)
@click.option("--steps", type=_POSITIVE, show_default="100", help="Steps of the time grid.")
@_setting("grid", str, "The time grid: uniform, cosine, or a file of times.")
@click.option("--solver", type=click.Choice(list(SOLVERS)),
              show_default="euler; tsit5 with tolerances", help="The solver.")
@_setting("t0", float, "Where the paths begin, in [0, 1).")
@_setting("t1", float, "Where the paths end, in (t0, 1].")
@_setting("rtol", float,
          "Relative tolerance: with --atol each sample takes its own adaptive steps.")
@_setting("atol", float, "Absolute tolerance.")
@_setting("max_steps", _POSITIVE, "Step limit, with tolerances.")
@_setting("labels", str,
          "'all' (the classes in turn), classes (3, or 0,1,2 in turn), or a file of n labels.")
@_setting("cfg", float, "Weight of classifier-free guidance; needs labels.")
@_setting("cfg_interval", (float, float), "Times between which guidance acts.", metavar="LO HI")
@_setting("profile", bool, "Keep speed and bend of every step.", is_flag=True)
@click.option("--raw", is_flag=True,
              help="Use the plain weights of a folder of fit, not their average.")
@click.option("--distributed", is_flag=True,
              help="One of several processes (found by jax.distributed) that share OUT.")
def command(
    field: str, n: int, out: Path, batch: int, labels: str | None, grid: str, raw: bool,
    distributed: bool, **settings: Any,
) -> None:
    # fmt: on
    """Sample a trained field into a folder; repeat the command to resume.

    OUT receives shards of samples, energies, status and noise indices with checksums for
    `sha256sum -c`, job.json with the settings, and job.log. A killed and repeated run ends with the
    same files. A folder with other settings is refused; a damaged shard is sampled again.
    """
    if distributed:
        _join_processes()
    devices = jax.local_devices()
    mesh = None
    if len(devices) > 1:
        mesh = jax.make_mesh((len(devices),), ("batch",), devices=devices)
    with advice_on_interrupt(f"the same command goes on from what is in {out}"):
        run_job(
            find_field(field, average=not raw),
            out,
            JobSettings(n=n, labels=read_labels(labels, n), grid=read_grid(grid), **settings),
            batch_size=batch,
            mesh=mesh,
            say=say,
        )


def _join_processes() -> None:
    try:
        jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"--distributed: jax.distributed found no others: {error}") from error
