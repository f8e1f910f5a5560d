"""Deferred interrupts, and interrupts that end the process."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_STATUS = 130  # shells' convention for a process ended by Ctrl-C
_SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it
_advice = ""


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether Ctrl-C was pressed; a second one interrupts at once.

    It always returns False outside the main thread, where signals cannot be caught, and where
    Ctrl-C is ignored or not handled by Python.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before in (None, signal.SIG_IGN):
        yield lambda: False
        return
    pressed = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            (before if callable(before) else signal.default_int_handler)(signum, frame)
        pressed = True

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def advice_on_interrupt(advice: str) -> Iterator[None]:
    """Gives interrupts without a message of their own this advice on how to continue."""
    global _advice
    _advice = advice
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or advice) from None
    finally:
        _advice = ""


def interrupted(advice: str) -> str:
    """The line printed after Ctrl-C."""
    return f"interrupted; {advice}" if advice else "interrupted"


def exit_at_once(signum: int, frame: FrameType | None) -> None:
    """A signal handler that prints a line and ends the process.

    An exception would be lost in callbacks from C. Writes are atomic, so at most a file
    `.NAME.part` is left, which the next run of a job removes.
    """
    prefix = f"{_SHOW_CURSOR}\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{prefix}{interrupted(_advice)}\n".encode())
    os._exit(EXIT_STATUS)
