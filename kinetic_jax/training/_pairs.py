"""Pairs of noise and of the samples that a field makes of it, kept in files as they are made."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import diffrax
import jax
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from kinetic_jax._arrays import pack, unpacked
from kinetic_jax._digest import digest
from kinetic_jax._files import with_size, write_whole
from kinetic_jax._interrupt import deferred_interrupt
from kinetic_jax._progress import progress_bar
from kinetic_jax._state import EventShape, State
from kinetic_jax.fields import Field
from kinetic_jax.sampling import Trajectories, noise, sample
from kinetic_jax.sampling._probes import checked_probes, held_arrays, probed, same_within_rounding

SETTINGS = "settings.json"
PROBED = 4  # pairs by whose velocities a field is recognised
MOST_NAMED = 10


class PairPlan(NamedTuple):
    """Everything that decides the pairs.

    Attributes:
        field: the field that is sampled.
        key: the key of the noise.
        num_pairs: number of pairs.
        cond: their conditions, a row for each, or None.
        event_shape: the shape of a sample.
        solver: the solver.
        grid: the times of its steps, from 0 to 1.
        sample_batch: pairs per call.
    """

    field: Field
    key: PRNGKeyArray
    num_pairs: int
    cond: PyTree[Array]
    event_shape: EventShape
    solver: diffrax.AbstractSolver
    grid: np.ndarray
    sample_batch: int

    def starts(self, index: Int[np.ndarray, " batch"]) -> tuple[State, PyTree[Array]]:
        """The noise and the conditions of some pairs."""
        cond = jax.tree.map(lambda leaf: leaf[index], self.cond)
        return noise(self.key, index, self.event_shape), cond

    def run(self, x0: State, cond: PyTree[Array]) -> Trajectories:
        """The samples of some noise."""
        return sample(self.field, x0, cond, solver=self.solver, grid=self.grid)

    def settings(self) -> dict[str, Any]:
        """The settings that pairs in a folder must share, as JSON values."""
        x0, cond = self.starts(np.arange(min(PROBED, self.num_pairs)))
        settings = {
            "num_pairs": self.num_pairs,
            "sample_batch": self.sample_batch,
            "key": digest([self.key]),
            "generator": str(jax.random.key_impl(self.key)),
            "event_shape": self.event_shape,
            "dtype": str(jax.tree.leaves(x0)[0].dtype),
            "cond": digest(jax.tree.leaves(self.cond)),
            "solver": repr(self.solver),
            "sample_steps": len(self.grid) - 1,
            "grid": digest([self.grid]),
            "arrays": digest(held_arrays(self.field)),
            "probes": probed(self.field, x0, cond, (0.0, 1.0)),
        }
        return json.loads(json.dumps(settings))


def pairs_of(
    plan: PairPlan, folder: Path | None, progress: bool | None
) -> tuple[PyTree[np.ndarray], PyTree[np.ndarray]]:
    """Noise and samples as NumPy arrays, those in `folder` read and the others added to it.

    Raises:
        ValueError: naming the setting, if the folder holds pairs of other settings; naming a file
            that cannot be read.
        FloatingPointError: if a sample is not finite.
    """
    if folder is not None:
        _claim(folder, plan)
    starts, samples = [], []
    advice = "" if folder is None else f"; it goes on from {folder}"
    with (
        deferred_interrupt() as interrupted,
        progress_bar("sampling pairs", plan.num_pairs, show=progress) as update,
    ):
        for number, first in enumerate(range(0, plan.num_pairs, plan.sample_batch)):
            stop = min(first + plan.sample_batch, plan.num_pairs)
            # Every call has as many rows, so that one program makes all pairs.
            index = np.minimum(np.arange(first, first + plan.sample_batch), plan.num_pairs - 1)
            x0, cond = plan.starts(index)
            path = None if folder is None else folder / f"pairs-{number:05d}.npz"
            if path is not None and path.exists():
                x1 = _read(path, _rows(x0, stop - first))
            else:
                x1 = _finite_samples(plan.run(x0, cond), range(first, stop))
                if path is not None:
                    _write(path, x1)
            starts.append(_rows(x0, stop - first))
            samples.append(x1)
            update(stop, "")
            if interrupted():
                message = f"sampling stopped after {stop} of {plan.num_pairs} pairs"
                raise KeyboardInterrupt(message + advice)
    return _joined(starts), _joined(samples)


def _rows(states: State, number: int) -> PyTree[np.ndarray]:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:number], states)


def _joined(parts: list[PyTree[np.ndarray]]) -> PyTree[np.ndarray]:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _finite_samples(run: Trajectories, pairs: range) -> PyTree[np.ndarray]:
    failed = np.flatnonzero(np.asarray(run.status)[: len(pairs)])
    if failed.size:
        names = ", ".join(str(pairs[i]) for i in failed[:MOST_NAMED])
        more = ", ..." if failed.size > MOST_NAMED else ""
        raise FloatingPointError(
            f"{failed.size} of the pairs {pairs.start} to {pairs.stop - 1} have samples that are "
            f"not finite (pairs {names}{more}): a field is trained on none of them"
        )
    return _rows(run.x1, len(pairs))


def _write(path: Path, x1: PyTree[np.ndarray]) -> None:
    leaves = jax.tree.leaves(x1)
    write_whole(path, pack({str(number): leaf for number, leaf in enumerate(leaves)}))


def _read(path: Path, like: PyTree[np.ndarray]) -> PyTree[np.ndarray]:
    leaves, structure = jax.tree.flatten(like)
    layout = {str(i): (leaf.shape, leaf.dtype) for i, leaf in enumerate(leaves)}
    try:
        with unpacked(path) as arrays:
            if {name: tuple(header) for name, header in arrays.headers.items()} != layout:
                raise ValueError(f"it holds {arrays.headers}")
            stored = [arrays[name] for name in layout]
    except Exception as error:  # readers raise various errors for damaged files
        raise ValueError(
            f"{with_size(path)} is damaged or does not fit ({error}): delete it, and its pairs "
            "are sampled again"
        ) from error
    return jax.tree.unflatten(structure, stored)


def _claim(folder: Path, plan: PairPlan) -> None:
    """Writes the settings of the pairs, or compares them with those in the folder."""
    path, now = folder / SETTINGS, plan.settings()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(now, indent=2).encode())
        return
    try:
        before = json.loads(path.read_text())
        probes = checked_probes(before["probes"])
        differing = [name for name in now if name != "probes" and before[name] != now[name]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{with_size(path)} is damaged: {error!r}") from error
    if not differing and not same_within_rounding(probes, now["probes"]):
        differing = ["probes"]
    if differing:
        name = differing[0]
        is_readable = name in ("num_pairs", "sample_batch", "event_shape", "solver", "sample_steps")
        values = f", {before[name]!r}, got {now[name]!r}" if is_readable else ", got another"
        called = {
            "arrays": "field",
            "probes": "field",
            "generator": "key",
            "dtype": "the noise's dtype",
        }
        raise ValueError(
            f"{called.get(name, name)} must be what the pairs in {folder} were sampled with"
            f"{values}: resume with the same settings or choose another folder"
        )
