"""A small field whose samples differ, and folders compared file for file."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import save_field
from kinetic_jax.jobs import JobSettings, run_job
from kinetic_jax.networks import Scaling, network_field

SETTINGS = {
    "n": 25,
    "shard_size": 10,
    "num_steps": 4,
    "labels": "all",
    "alpha0": 0.1,
    "beta0": 0.01,
}


def changed(field, change):
    """`field` with each of its weights changed, in NumPy, where nothing is compiled."""
    weights, rest = eqx.partition(field, eqx.is_inexact_array)
    weights = jax.tree.map(lambda leaf: jnp.asarray(change(np.array(leaf))), weights)
    return eqx.combine(weights, rest)


def build(event_shape=(2,), *, seed=1, **config):
    """A network whose weights are moved at random: a fresh one's velocity is 0."""
    options = {"width": 8, "depth": 1, "scaling": Scaling(8.0, 4.0)} | config
    rng = np.random.default_rng(seed)
    fresh = network_field("mlp", event_shape, key=jax.random.key(0), **options)
    return changed(fresh, lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(leaf.dtype))


@pytest.fixture(scope="session")
def poisoned():
    """Makes the samples of class 1 of 2 end as NaN."""

    def poison(leaf):
        if leaf.shape == (3, 8):  # the embedding of the classes
            leaf[1] = np.nan
        return leaf

    return lambda field: changed(field, poison)


@pytest.fixture(scope="session")
def make_field():
    return build


@pytest.fixture(scope="session")
def field():
    return build(num_classes=3)


@pytest.fixture(scope="session")
def saved(field, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_field(folder / "field", field)
    return folder / "field"


@pytest.fixture(scope="session")
def run(field):
    """Runs the small job in a folder; settings that differ are given by name."""

    def run(out, *, of=field, batch_size=4, say=None, part=None, mesh=None, **settings):
        options = {"batch_size": batch_size, "say": say, "part": part, "mesh": mesh}
        return run_job(of, out, JobSettings(**SETTINGS | settings), **options)

    return run


@pytest.fixture(scope="session")
def contents():
    """The files of a folder by name, but for logs, which tell clock times."""

    def contents(folder):
        return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".log"}

    return contents


@pytest.fixture(scope="session")
def undisturbed(run, tmp_path_factory, contents):
    """The files of the small job, run once without anything happening."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return contents(folder)
