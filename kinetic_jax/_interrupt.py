"""Deferred interrupts, and interrupts that end the process."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_STATUS = 130  # of a process that Ctrl-C ended, as shells count
_SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it
_advice = ""


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether Ctrl-C was pressed; a second one interrupts at once.

    Outside the main thread, where signals cannot be caught, it always returns False; likewise
    where Ctrl-C is ignored, or not Python's to handle.
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
    """Adds how to go on to the line that Ctrl-C leaves, unless the work says it more exactly."""
    global _advice
    _advice = advice
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or advice) from None
    finally:
        _advice = ""


def interrupted(advice: str) -> str:
    """The line that Ctrl-C leaves."""
    return f"interrupted; {advice}" if advice else "interrupted"


def exit_at_once(signum: int, frame: FrameType | None) -> None:
    """A signal handler that ends the process with a line.

    It raises nothing: an exception is lost where Python or JAX call back from C. Files are written
    beside their place, so that at most `.NAME.part` is left of one, which the next run of a job
    removes.
    """
    before = f"{_SHOW_CURSOR}\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{before}{interrupted(_advice)}\n".encode())
    os._exit(EXIT_STATUS)
