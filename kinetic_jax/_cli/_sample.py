"""`kinetic-jax sample`."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._checks import require
from kinetic_jax._cli._options import FOLDER, say
from kinetic_jax._files import local_path, with_size
from kinetic_jax._interrupt import advice_on_interrupt
from kinetic_jax._pretrained import MODELS, pretrained
from kinetic_jax.jobs import JobSettings, open_job, run_job
from kinetic_jax.jobs._settings import SOLVERS
from kinetic_jax.networks import NetworkField, load_authors_checkpoint
from kinetic_jax.sampling import grid_from_scheduler
from kinetic_jax.sampling._grid import DEFAULT_NUM_STEPS, GRIDS, NUMBERED_GRIDS
from kinetic_jax.training import load_field
from kinetic_jax.transforms._kts import LANDING_SHAPES, LAUNCH_SHAPES

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
_PROFILE, _DATA = "profile", "data"
_GRIDS = ", ".join([*GRIDS, *(f"{name}:S" for name in NUMBERED_GRIDS), f"{_PROFILE}:FOLDER"])
_SCHEDULER = ".json"


# fmt: off
@click.command("sample")
@click.option("--field", required=True,
              help="Folder of save_field or fit (the demo leaves one), a checkpoint of the KTS "
                   "authors' PyTorch code (32 × 32 images), or a model's name.")
@click.option("--n", type=_POSITIVE, required=True, help="Number of samples.")
@click.option("--out", type=FOLDER, required=True,
              help="Folder for the shards.")
@_setting("seed", click.IntRange(min=0),
          "Seed of the noise: sample i depends on (seed, i) alone.")
@click.option("--batch-size", type=_POSITIVE, default=256, show_default=True,
              help="Samples computed together; affects only speed and rounding.")
@_setting("shard_size", _POSITIVE, "Samples per file.")
@_setting("alpha0", float, "Gain of the launch.")
@_setting("beta0", float, "Damping of the landing.")
@_setting("tau_split", float, "End of the launch; the energy is split there.")
@_setting("launch", click.Choice(list(LAUNCH_SHAPES)), "Shape of the launch.")
@_setting("landing", click.Choice(list(LANDING_SHAPES)), "Shape of the landing.")
@_setting("k", float, "Steepness of the exponential shapes.")
@_setting("allow_reversal", bool, "Let strengths stop or reverse the flow.", is_flag=True)
@click.option("--num-steps", type=_POSITIVE, show_default=str(DEFAULT_NUM_STEPS),
              help="Steps of the time grid.")
@_setting("grid", str,
          f"The time grid: {_GRIDS} (a job with --profile: finer where its paths bend), a "
          "diffusers scheduler_config.json, or a file of times (.npy, .txt).")
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
@_setting("cfg_interval", (float, float), "Times between which guidance acts.", metavar="LOW HIGH")
@_setting("profile", bool, "Keep speed and bend of every step.", is_flag=True)
@_setting("residual", bool,
          "Keep the share of noise left on each sample, for kinetic_jax.sampling.complete.",
          is_flag=True)
@click.option("--frame", metavar="FILE",
              help="The frame of the energies: a file with one velocity in the field's scale, or "
                   "data:FILE for the mean of raw data.")
@click.option("--raw", is_flag=True,
              help="Use the plain weights of a folder of fit, not their average.")
@click.option("--distributed", is_flag=True,
              help="One of several processes (found by jax.distributed) that share OUT.")
def command(
    field: str, n: int, out: Path, batch_size: int, labels: str | None, grid: str,
    frame: str | None, raw: bool, distributed: bool, **settings: Any,
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
        network = find_field(field, ema=not raw)
        run_job(
            network,
            out,
            JobSettings(
                n=n,
                labels=read_labels(labels, n),
                grid=read_grid(grid, settings["num_steps"]),
                frame=None if frame is None else read_frame(frame, network),
                **settings,
            ),
            batch_size=batch_size,
            mesh=mesh,
            say=say,
        )


def _join_processes() -> None:
    try:
        jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"--distributed: jax.distributed found no others: {error}") from error


def find_field(where: str, *, ema: bool = True, name: str = "field") -> NetworkField:
    """Loads a field from a folder, from a checkpoint of the KTS authors, or a model by name.

    `name` is that of the option.
    """
    folder = local_path(name, where)
    if folder.is_file():
        return load_authors_checkpoint(folder)
    if folder.is_dir():
        try:
            return load_field(folder, ema=ema)
        except FileNotFoundError as error:
            nearby = filter(_holds_a_field, (folder / "field", folder.parent))
            hint = "".join(f"; {folder} holds one" for folder in nearby)
            raise ValueError(
                f"{name} must be a folder of save_field or fit, got {where}: {error}{hint}"
            ) from error
    model, _, step = where.partition("@")
    if model in MODELS and (step.isdecimal() or where == model):
        return pretrained(model, step=int(step) if step else None)
    raise ValueError(
        f"{name} must be a folder of save_field or fit, a checkpoint of the KTS authors' code, or "
        f"the name of a model ({', '.join(MODELS)}; NAME@STEP for a checkpoint), got {where!r}: "
        "there is no such folder or file"
    )


def _holds_a_field(folder: Path) -> bool:
    try:
        load_field(folder)
    except (OSError, ValueError):
        return False
    return True


def read_labels(text: str | None, n: int) -> str | list[int] | np.ndarray | None:
    """Parses "all", comma-separated classes, or a file of n labels."""
    if text is None or text == "all":
        return text
    if re.fullmatch(r"\d+(,\d+)*", text):
        return [int(number) for number in text.split(",")]
    labels = _read_numbers("labels", text, int, "'all', classes such as 0,1,2")
    require(labels.shape == (n,), f"labels in {text}", f"shape {labels.shape}", f"be n = {n}")
    return np.array(labels)


def read_grid(text: str, num_steps: int | None) -> str | np.ndarray:
    """Parses the name of a grid, a job from whose profile to make one, or a file of times."""
    name, _, rest = text.partition(":")
    if name == _PROFILE and rest:
        steps = DEFAULT_NUM_STEPS if num_steps is None else num_steps
        return open_job(local_path("grid", rest)).grid_from_profile(steps)
    if text in GRIDS or name in NUMBERED_GRIDS:
        return text
    if text.endswith(_SCHEDULER):
        steps = DEFAULT_NUM_STEPS if num_steps is None else num_steps
        return grid_from_scheduler(local_path("grid", text), steps)
    return _read_numbers("grid", text, float, _GRIDS)


def read_frame(text: str, field: NetworkField) -> np.ndarray:
    """Parses a file with a velocity, or `data:` and a file of raw data, whose mean is one."""
    name, _, rest = text.partition(":")
    is_data = name == _DATA and bool(rest)
    array = np.asarray(load_array(local_path("frame", rest if is_data else text)), np.float64)
    if is_data:
        array = field.scaling.apply(array.mean(axis=0))
    shape, size = field.event_shape, math.prod(field.event_shape)
    require(array.size == size, "frame", f"{array.shape} in {text}", f"have the shape {shape}")
    return array.reshape(shape).astype(np.float32)


def _read_numbers(name: str, text: str, dtype: type, words: str) -> np.ndarray:
    file = local_path(name, text)
    is_word = not file.suffix and not file.exists()
    require(not is_word, name, text, f"be {words}, or a file")
    if file.suffix != ".txt" or not file.is_file():
        return load_array(file)
    try:
        return np.loadtxt(file, ndmin=1, dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{with_size(file)} is unreadable: {error}") from error
