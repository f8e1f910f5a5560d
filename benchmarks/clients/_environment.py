"""An environment of its own for each client, from its pinned requirements."""

import contextlib
import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.clients._page import GALLERY
from kinetic_jax._files import write_whole

ROOT = GALLERY.parents[1]
NEWEST = (3, 13)  # the first Python that the newest JAX supports and the project is tested on
INSTALLED = "installed"  # a file: an environment without it was interrupted
WITHOUT_DEPENDENCIES = ".no-deps.txt"
BASE = "base.txt"
LINE_SECONDS = 30.0  # between lines while pip works


class InstallError(RuntimeError):
    """An environment could not be made; the message is that of the command that failed."""


def requirements(name: str, folder: Path) -> list[Path]:
    """The requirement files of a client: the first with dependencies, the second without.

    Args:
        name: of the client.
        folder: of the gallery.
    """
    folder = folder / "requirements"
    own = folder / f"{name}.txt"
    bare = folder / f"{name}{WITHOUT_DEPENDENCIES}"
    return [own if own.exists() else folder / BASE, *([bare] if bare.exists() else [])]


def pinned(files: Sequence[Path]) -> dict[str, str]:
    """The packages that requirement files pin, with their versions."""
    lines = [line.split("#")[0].strip() for file in files for line in file.read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line)


def newest_python() -> str:
    """This interpreter, if it is Python 3.13 or later, or `python3.13` on the path.

    Raises:
        ValueError: if there is none that runs.
    """
    if sys.version_info >= NEWEST:
        return sys.executable
    name = "python{}.{}".format(*NEWEST)
    python = shutil.which(name)
    advice = f"pass another interpreter with --python, or install {name}"
    if python is None:
        raise ValueError(f"there is no {name} on the path: {advice}")
    try:
        return _output(python, "-c", "import sys; print(sys.executable)").strip()
    except InstallError as error:  # a shim of pyenv without a version
        raise ValueError(f"{python} does not run: {advice}. {error}") from error


def cache() -> Path:
    """The folder of environments in the user's cache."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    folder = folder if folder.is_absolute() else Path.home() / ".cache"
    return folder / "kinetic-jax" / "clients"


def make_private(folder: Path) -> None:
    """Makes the folder, for the user alone.

    Raises:
        ValueError: if it is there and others could put programs into it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "nt":
        return
    state = folder.stat()
    if state.st_uid != os.getuid():
        raise ValueError(f"{folder} must be yours, as programs in it are run")
    if state.st_mode & stat.S_IWOTH:
        raise ValueError(f"{folder} must not be writable by all, as programs in it are run")


def environment(
    name: str, python: str, folder: Path, gallery: Path, *, log: Callable[[str], None]
) -> Path:
    """The interpreter of a client's environment, installed unless it is there already.

    Environments with the same requirements are one.

    Args:
        name: of the client.
        python: the interpreter that makes it.
        folder: of the environments.
        gallery: folder of the pages and their requirements.
        log: callback for messages.

    Raises:
        InstallError: with pip's error.
    """
    files = requirements(name, gallery)
    constraints = gallery / "requirements" / "constraints.txt"
    state = [python, str(ROOT), *(file.read_text() for file in [*files, constraints])]
    stamp = hashlib.sha256("\0".join(state).encode()).hexdigest()[:12]
    place = folder / f"{files[0].stem}-{stamp}"
    own = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    if (place / INSTALLED).exists():
        return own
    log(f"installing {files[0].name} into {place}")
    shutil.rmtree(place, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    waiting = functools.partial(_output, log=log, doing=f"installing {files[0].name}")
    waiting(python, "-m", "venv", str(place))
    pip = (str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    waiting(*pip, "-r", str(files[0]), "-e", str(ROOT))
    for bare in files[1:]:
        waiting(*pip, "--no-deps", "-r", str(bare))
    write_whole(place / INSTALLED, b"")
    return own


def _output(*command: str, log: Callable[[str], None] = print, doing: str = "waiting") -> str:
    """What a command prints; while it runs, a line every half minute says so.

    Raises:
        InstallError: with its lines that begin with ERROR, or its last ones.
    """
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise InstallError(f"{command[0]}: {error.strerror}") from error
    with process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, errors_text = process.communicate(timeout=LINE_SECONDS)
                    break
                log(f"still {doing} after {time.monotonic() - start:.0f} s")
        except BaseException:  # Ctrl-C as well
            process.kill()
            raise
    if process.returncode == 0:
        return output
    lines = (errors_text or output).strip().splitlines()
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-5:]
    raise InstallError("\n".join(errors) or f"exit status {process.returncode}")
