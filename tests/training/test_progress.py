"""Progress bars: on terminals, and nowhere else."""

import io
import os
import pty
import sys
import threading

import equinox as eqx
import jax
import numpy as np
import optax
import pytest

from kinetic_jax import fit
from kinetic_jax._progress import progress_bar

OPTIMIZER = optax.sgd(1e-2)


class Constant(eqx.Module):
    """v = w: it compiles faster than a network."""

    w: jax.Array

    def __call__(self, t, x, cond=None):
        return self.w


def train(progress):
    field, data = Constant(jax.device_put(np.zeros(2, np.float32))), np.ones((4, 2), np.float32)
    settings = {"key": jax.random.key(0), "optimizer": OPTIMIZER, "batch_size": 4}
    fit(field, data, num_steps=7, progress=progress, **settings)


@pytest.fixture
def surroundings(monkeypatch):
    """Nothing around the test asks for colours, or for none."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    return monkeypatch


def on_a_terminal(surroundings, run):
    """The output of `run` when standard error is a terminal."""
    master, slave = pty.openpty()
    chunks = []

    def read():
        # A terminal that nobody reads blocks whoever writes to it.
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:  # the other end was closed
                return
            if not chunk:
                return
            chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(slave, "w") as terminal, surroundings.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        run()
    reader.join()
    os.close(master)
    return b"".join(chunks).decode()


def in_a_file(surroundings, run):
    """The output of `run` when standard error is a file."""
    stream = io.StringIO()
    with surroundings.context() as patch:
        patch.setattr(sys, "stderr", stream)
        run()
    return stream.getvalue()


def test_terminal(surroundings):
    shown = on_a_terminal(surroundings, lambda: train(None))
    for part in ("training", "7/7", "loss", "left"):
        assert part in shown


def test_terminal_switched_off(surroundings):
    assert "training" not in on_a_terminal(surroundings, lambda: train(False))


def test_file(surroundings):
    assert in_a_file(surroundings, lambda: train(None)) == ""


def test_file_switched_on(surroundings):
    written = in_a_file(surroundings, lambda: train(True))
    for part in ("training", "7/7", "loss"):
        assert part in written


def test_what_was_done_before_counts(surroundings):
    def run():
        with progress_bar("of a[bold]b", 8, done=4, show=True) as update:
            update(6, "note of the day")

    written = in_a_file(surroundings, run)
    assert "6/8" in written
    assert "of a[bold]b" in written  # no markup: names of folders come in here
    assert "note of the day" in written


def test_reader_that_is_gone(surroundings):
    """Rich would end the process."""
    reader, writer = os.pipe()
    os.close(reader)
    surroundings.setattr(sys, "stderr", os.fdopen(writer, "w"))
    with progress_bar("work", 2, show=True) as update:
        update(1)
    with pytest.raises(BrokenPipeError):
        sys.stderr.close()
