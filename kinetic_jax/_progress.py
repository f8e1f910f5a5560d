"""Progress bars, on terminals only."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kinetic_jax._checks import require_flag


def check_progress(progress: object) -> None:
    """Raises unless `progress` is None, true or false."""
    if progress is not None:
        require_flag("progress", progress)


@contextmanager
def progress_bar(
    description: str, total: int, *, done: int = 0, show: bool | None = None
) -> Iterator[Callable[[int, str], None]]:
    """A bar on standard error; yields `update(done, note)`.

    Args:
        description: name of the work.
        total: number of pieces.
        done: number of pieces done before.
        show: None shows the bar only on a terminal or in a notebook with ipywidgets, without which
            Rich draws warnings.
    """
    check_progress(show)
    from rich import progress as rich
    from rich.console import Console

    class LenientConsole(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True  # Rich would end the process

    console = LenientConsole(stderr=True)
    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[note]}", markup=False),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
    )
    in_notebook = console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
    on_terminal = console.is_terminal and not console.is_jupyter
    visible = on_terminal or in_notebook if show is None else show
    with rich.Progress(*columns, console=console, disable=not visible) as progress:
        task = progress.add_task(description, total=total, completed=done, note="")

        def update(done: int, note: str = "") -> None:
            progress.update(task, completed=done, note=note)

        yield update
