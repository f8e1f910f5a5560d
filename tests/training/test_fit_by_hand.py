"""`fit` against a training loop written by hand."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kinetic_jax import fit


def rows(dtype):
    return (np.random.default_rng(0).normal(size=(12, 2)) + 1.0).astype(dtype)


class Bilinear(eqx.Module):
    """A field small enough to be differentiated by hand: v = x ⊙ a + t b + E[label]."""

    gain: jax.Array
    slope: jax.Array
    table: jax.Array

    def __call__(self, t, x, cond=None):
        velocity = self.gain * x + t * self.slope
        return velocity if cond is None else velocity + self.table[cond]


def bilinear(dtype):
    rng = np.random.default_rng(1)
    shapes = ((2,), (2,), (4, 2))
    return Bilinear(*(jax.device_put(rng.normal(size=shape).astype(dtype)) for shape in shapes))


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def draws(key, num_steps, batch_size, number, dtype):
    """Each step's rows, dropped labels, times and noise."""

    def of(step):
        draw, drop, rest = jax.random.split(jax.random.fold_in(key, step), 3)
        key_time, key_noise = jax.random.split(rest)
        return (
            jax.random.randint(draw, (batch_size,), 0, number),
            jax.random.uniform(drop, (batch_size,), jnp.float32),
            jax.random.uniform(key_time, (batch_size,), dtype),
            jax.random.normal(key_noise, (batch_size, 2), dtype),
        )

    return jax.vmap(of)(jnp.arange(num_steps))


def by_hand(field, data, cond, *, key, num_steps, optimizer, batch_size, cond_dropout, null, ema):
    """Loss, its gradient and the average in NumPy; Optax is only asked for updates."""
    names = ("gain", "slope", "table")
    values = {name: np.asarray(getattr(field, name)) for name in names}
    average = {name: value.copy() for name, value in values.items()}
    state, update = optimizer.init(values), jax.jit(optimizer.update)
    data, history = np.asarray(data), []
    drawn = draws(key, num_steps, batch_size, len(data), data.dtype)
    for step, (picked, chance, t, x0) in enumerate(zip(*map(np.asarray, drawn), strict=True)):
        labels = None if cond is None else np.asarray(cond)[picked]
        if labels is not None and null is not None:
            labels = np.where(chance < np.float32(cond_dropout), null, labels)
        t, x1 = t[:, None], data[picked]
        x = (1 - t) * x0 + t * x1
        velocity = values["gain"] * x + t * values["slope"]
        if labels is not None:
            velocity = velocity + values["table"][labels]
        residual = velocity - (x1 - x0)
        history.append(np.sum(residual**2) / batch_size)
        gradient = {
            "gain": np.sum(2 * residual * x, axis=0) / batch_size,
            "slope": np.sum(2 * residual * t, axis=0) / batch_size,
            "table": np.zeros((4, 2)),
        }
        if labels is not None:
            np.add.at(gradient["table"], labels, 2 * residual / batch_size)
        gradient = {name: gradient[name].astype(values[name].dtype) for name in names}
        updates, state = update(gradient, state, values)
        values = {name: np.asarray(values[name] + np.asarray(updates[name])) for name in names}
        decay = 0.0 if ema is None else min(ema, (1 + step) / (10 + step))
        average = {name: decay * average[name] + (1 - decay) * values[name] for name in names}
    return values, average, np.array(history)


# An optimizer may need its gradients together, weights, a state, the number of the step.
OPTIMIZERS = {
    "adam": lambda: optax.adam(1e-2),
    "clipped, momentum, decay, schedule": lambda: optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.trace(0.9),
        optax.add_decayed_weights(0.1),
        optax.scale_by_learning_rate(optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 20)),
    ),
}
CASES = {
    "low ema": {"ema": 0.2},
    "labels": {"ema": 0.999, "cond": True},
}
DROPPED_LABELS = {"ema": 0.999, "cond": True, "cond_dropout": 0.5, "null": 3}


def compare_with_hand(optimizer, case, dtype, rtol):
    cond = np.arange(12, dtype=np.int32) % 3 if case.get("cond") else None
    dropout, null = case.get("cond_dropout", 0.0), case.get("null")
    shared = {
        "key": jax.random.key(7), "num_steps": 15, "optimizer": optimizer, "batch_size": 5,
        "cond_dropout": dropout, "ema": case["ema"],
    }  # fmt: skip
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        want = by_hand(bilinear(dtype), rows(dtype), cond, null=null, **shared)
    null_cond = None if null is None else np.int32(null)
    got = fit(bilinear(dtype), rows(dtype), cond=cond, null_cond=null_cond, **shared)
    for result, values in ((got.field, want[0]), (got.ema_field, want[1])):
        for name, value in values.items():
            np.testing.assert_allclose(getattr(result, name), value, rtol=rtol, atol=rtol)
    assert got.history.loss.shape == (15,)
    np.testing.assert_allclose(got.history.loss, want[2], rtol=max(rtol, 1e-6))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers_against_a_loop_by_hand(optimizer, x64):
    compare_with_hand(optimizer(), DROPPED_LABELS, np.float64, 1e-7)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_a_loop_by_hand_in_single_precision(case):
    compare_with_hand(optax.sgd(0.05, momentum=0.9), case, np.float32, 2e-5)


def test_without_an_average():
    start = bilinear(np.float32)
    settings = {"key": jax.random.key(0), "optimizer": optax.adam(1e-2), "batch_size": 4}
    result = fit(start, rows(np.float32), num_steps=5, ema=None, **settings)
    pairs = zip(jax.tree.leaves(result.ema_field), jax.tree.leaves(result.field), strict=True)
    for average, trained in pairs:
        np.testing.assert_array_equal(average, trained)
    assert np.any(np.asarray(result.field.gain) != np.asarray(start.gain))
