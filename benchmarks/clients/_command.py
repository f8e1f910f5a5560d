"""`python -m benchmarks clients`."""

import datetime
import json
import os
import subprocess
import tempfile
from pathlib import Path

import click

from benchmarks.clients._environment import (
    ROOT,
    InstallError,
    cache,
    environment,
    make_private,
    newest_python,
    pinned,
    requirements,
)
from benchmarks.clients._page import GALLERY, pages, read_page, write_output
from benchmarks.clients._record import (
    RECORD,
    Client,
    failure,
    read_record,
    verdict,
    write_client,
    write_table,
)
from kinetic_jax._cli._options import FILE, FOLDER, say
from kinetic_jax._interrupt import advice_on_interrupt

LAST_LINES = 5  # of a traceback
PAGE_SECONDS = 600.0


@click.command("clients")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--python",
    help="The interpreter that makes the environments; this one, if it is Python 3.13 or later, "
    "or python3.13 by default.",
)
@click.option(
    "--environments",
    type=FOLDER,
    default=cache,
    show_default="~/.cache/kinetic-jax/clients",
    help="Folder of the environments, which are kept; it must be yours, as they are run.",
)
@click.option(
    "--out",
    type=FILE,
    help="File of the record, with --write benchmarks/results/clients.json by default, else one in "
    "the folder of the environments. Clients that are not run stay in it.",
)
@click.option(
    "--write",
    is_flag=True,
    help="Puts what pages print into the pages, and the table into docs/gallery/README.md.",
)
def command(
    names: tuple[str, ...], python: str | None, environments: Path, out: Path | None, write: bool
) -> None:
    """Runs pages of docs/gallery (all by default), each in the environment of its client.

    A page is other people's model, attached to this library. Its x1 and E must equal those of an
    Euler loop of plain NumPy to 1e-5. Environments are made with pip, from
    docs/gallery/requirements. One that cannot be made, or a page that fails, is recorded with its
    error; the others go on.
    """
    try:
        make_private(environments)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--environments") from error
    known = pages(GALLERY)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(f"no client {unknown[0]}; there are {', '.join(known)}")
    chosen = list(dict.fromkeys(names)) or list(known)
    python, failures = python or newest_python(), list[str]()
    out = out or (RECORD if write else environments / RECORD.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    with advice_on_interrupt(f"clients that were run to the end are in {out}; name the others"):
        for number, name in enumerate(chosen, 1):
            say(f"[{number}/{len(chosen)}] {name}")
            client = run_client(name, python, environments)
            write_client(out, name, client)
            reason = verdict(client)
            if reason is None:
                say(f"{client['output']}{client['seconds']} s")
                if write:
                    write_output(read_page(known[name]), client["output"])
            else:
                failures.append(name)
                say(f"FAILED: {reason}")
    if write:
        write_table(read_record(out), GALLERY)
    say(f"record: {out}")
    if failures:
        of = f"{len(failures)} of {len(chosen)}"
        raise click.ClickException(f"{of} failed: {', '.join(failures)}")


def run_client(
    name: str, python: str, environments: Path, *, timeout: float = PAGE_SECONDS
) -> Client:
    """Installs a client and runs its page as a process of its own; failures are in the record.

    A page that has not ended after `timeout` seconds is stopped, and has failed.
    """
    page = pages(GALLERY)[name]
    pins = pinned(requirements(name, GALLERY))
    today = datetime.date.today().isoformat()
    try:
        own = environment(name, python, environments, GALLERY, log=say)
    except InstallError as error:
        return failure(today, pins, str(error))
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "client.json"
        try:
            process = subprocess.run(
                [str(own), "-m", "benchmarks.clients._child", str(page), str(record), *pins],
                cwd=ROOT,
                env={"JAX_PLATFORMS": "cpu", **os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return failure(today, pins, f"the page had not ended after {timeout:g} s")
        if process.returncode == 0:
            return json.loads(record.read_text())
    lines = process.stderr.strip().splitlines()[-LAST_LINES:]
    return failure(today, pins, "\n".join(lines) or f"exit status {process.returncode}")
