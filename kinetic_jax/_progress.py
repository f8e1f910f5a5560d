"""Progress bars for long work: drawn on terminals, silent everywhere else."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kinetic_jax._checks import require_flag


def _console() -> Any:
    """Standard error; work goes on when nobody reads that any more, and Rich would exit."""
    from rich.console import Console

    class Lenient(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True

    return Lenient(stderr=True)


def check_progress(progress: Any) -> None:
    """Raises unless `progress` is None, true or false."""
    if progress is not None:
        require_flag("progress", progress)


@contextmanager
def progress_bar(
    description: str, total: int, *, done: int = 0, show: bool | None = None
) -> Iterator[Callable[[int, str], None]]:
    """A bar on standard error; yields `update(done, note)`.

    Args:
        description: what is being done.
        total: how many pieces there are.
        done: how many of them were done before.
        show: None shows the bar only on a terminal or in a notebook with ipywidgets, without which
            Rich draws warnings.

    Raises:
        ValueError: if `show` is neither None nor true nor false; callers name it `progress`.
    """
    check_progress(show)
    from rich import progress as rich

    console = _console()
    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[note]}", markup=False),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
    )
    notebook = console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
    on_terminal = console.is_terminal and not console.is_jupyter
    visible = on_terminal or notebook if show is None else show
    with rich.Progress(*columns, console=console, disable=not visible) as progress:
        task = progress.add_task(description, total=total, completed=done, note="")

        def update(done: int, note: str = "") -> None:
            progress.update(task, completed=done, note=note)

        yield update
