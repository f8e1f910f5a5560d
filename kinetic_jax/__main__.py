"""The command line, `kinetic-jax`, which is also `python -m kinetic_jax`."""

import os
import signal
import sys

from kinetic_jax._interrupt import exit_at_once


def main() -> None:
    """Runs the command line. From here on Ctrl-C ends it with a line, also while it imports JAX."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may ignore it
        signal.signal(signal.SIGINT, exit_at_once)
    from kinetic_jax._cli import cli

    try:
        cli(prog_name="kinetic-jax")
    finally:
        _discard_unwritable_output()


def _discard_unwritable_output() -> None:
    """Redirects closed streams to /dev/null, where the interpreter can flush them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
