"""A small field whose samples differ, and folders compared file for file."""

import equinox as eqx
import jax
import pytest

from kinetic_jax import JobSettings, Scaling, network_field, run_job

SETTINGS = {"n": 25, "shard_size": 10, "steps": 4, "labels": "all", "alpha0": 0.1, "beta0": 0.01}


def moved(field, seed=1):
    """A fresh network's velocity is 0: here each weight is moved at random."""
    weights, rest = eqx.partition(field, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(weights)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    leaves = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(treedef, leaves), rest)


def build(event_shape=(2,), *, seed=1, **config):
    options = {"width": 8, "depth": 1, "scaling": Scaling(8.0, 4.0)} | config
    return moved(network_field("mlp", event_shape, key=jax.random.key(0), **options), seed)


@pytest.fixture(scope="module")
def make_field():
    return build


@pytest.fixture(scope="module")
def field():
    return build(num_classes=3)


@pytest.fixture(scope="module")
def run(field):
    """Runs the small job in a folder; settings that differ are given by name."""

    def run(out, *, of=field, batch_size=4, say=None, part=None, **settings):
        options = {"batch_size": batch_size, "say": say, "part": part}
        return run_job(of, out, JobSettings(**SETTINGS | settings), **options)

    return run


@pytest.fixture(scope="module")
def contents():
    """The files of a folder by name, but for logs, which tell clock times."""

    def contents(folder):
        return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".log"}

    return contents


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory, contents):
    """The files of the small job, run once without anything happening."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return contents(folder)
