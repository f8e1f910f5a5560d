"""Runs that are killed or interrupted, as processes of their own."""

import os
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kinetic_jax import fit, load_field
from kinetic_jax._interrupt import deferred_interrupt
from kinetic_jax.networks import network_field
from kinetic_jax.training._storage import latest_step

pytestmark = pytest.mark.long

STEPS = 25
OPTIMIZER = optax.adam(1e-2)

SCRIPT = """
import signal, sys
import jax, jax.numpy as jnp, numpy as np, optax
from kinetic_jax import fit
from kinetic_jax.networks import network_field

# Says when Ctrl-C is being waited for: from then on a run ends by writing a checkpoint.
plain = signal.signal
def saying(*arguments):
    result = plain(*arguments)
    print("ready", flush=True)
    return result
signal.signal = saying

folder, steps, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
key = jax.random.key(0)
data = jnp.asarray(np.random.default_rng(0).normal(size=(12, 2)), jnp.float32)
field = network_field("mlp", (2,), key=key, width=8, depth=1)
fit(field, data, key=key, num_steps=steps, optimizer=optax.adam(1e-2), batch_size=4,
    checkpoint_dir=folder, checkpoint_every=every)
"""


def start(folder, steps, every):
    # Not a terminal: no bar may appear, whatever the surroundings ask of one.
    environment = {
        k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE")
    }
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background ignores it
    try:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(steps), str(every)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def undisturbed(steps):
    """The same run in this process."""
    key = jax.random.key(0)
    data = jnp.asarray(np.random.default_rng(0).normal(size=(12, 2)), jnp.float32)
    field = network_field("mlp", (2,), key=key, width=8, depth=1)
    return fit(field, data, key=key, num_steps=steps, optimizer=OPTIMIZER, batch_size=4)


def resumed(folder, steps):
    """The run in `folder`, gone on with in this process."""
    key = jax.random.key(0)
    data = jnp.asarray(np.random.default_rng(0).normal(size=(12, 2)), jnp.float32)
    field = network_field("mlp", (2,), key=key, width=8, depth=1)
    return fit(
        field,
        data,
        key=key,
        num_steps=steps,
        optimizer=OPTIMIZER,
        batch_size=4,
        checkpoint_dir=folder,
    )


def assert_same(first, second):
    first, second = (eqx.filter(tree, eqx.is_inexact_array) for tree in (first, second))
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


def wait_for(condition, process, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run did not get so far"
        time.sleep(0.0005)


def unfinished(folder):
    return any("tmp" in path.name for path in folder.glob("*")) if folder.is_dir() else False


def reached(folder, step):
    done = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
    return max(done, default=0) >= step


def test_killed_runs_end_bitwise_the_same(tmp_path):
    folder = tmp_path / "run"
    # A checkpoint a step: nearly all of the run is writing, and so is when it is killed.
    moments = [
        lambda: unfinished(folder),
        lambda: reached(folder, 5) and unfinished(folder),
        lambda: reached(folder, 12),
    ]
    for delay, moment in zip((0.0, 0.004, 0.011), moments, strict=True):
        process = start(folder, STEPS, 1)
        wait_for(moment, process)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        step = latest_step(folder)
        if step is not None:  # the first kill falls into the writing of the first checkpoint
            assert_same(load_field(folder), undisturbed(step).ema_field)
    assert step is not None
    assert 12 <= step < STEPS
    process = start(folder, STEPS, 1)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "training" not in errors  # no bar where there is no terminal
    want = undisturbed(STEPS)
    assert_same(load_field(folder), want.ema_field)
    result = resumed(folder, STEPS)
    assert_same(result.field, want.field)
    np.testing.assert_array_equal(result.history.loss, want.history.loss)
    assert not unfinished(folder)  # what the kills left behind is cleared away


def test_ctrl_c_writes_a_checkpoint(tmp_path):
    folder = tmp_path / "run"
    process = start(folder, 10**9, 10**9)  # no checkpoint but the one that Ctrl-C asks for
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    step = latest_step(folder)
    assert step is not None
    assert step >= 1
    result, want = resumed(folder, step + 5), undisturbed(step + 5)
    assert_same(result.field, want.field)
    assert_same(result.ema_field, want.ema_field)
    np.testing.assert_array_equal(result.history.loss, want.history.loss)


@pytest.mark.parametrize("handler", ["ignored", "of another language"])
def test_what_python_does_not_handle_is_left_alone(handler, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if handler == "of another language":
            monkeypatch.setattr(signal, "getsignal", lambda number: None)
        with deferred_interrupt() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupted()
        monkeypatch.undo()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_deferred_interrupt():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
