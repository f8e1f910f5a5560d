"""The command: environments, failures, the record, and pages that it writes."""

import functools
import json
import os
import re
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.clients import _command as command
from benchmarks.clients import _environment as environments
from benchmarks.clients._page import pages, read_page, run_page, write_output
from benchmarks.clients._record import failure, read_record, table, verdict, write_client

ROOT = Path(__file__).parents[3]
PAGE = """\
# A client

- predicts: velocity
- clock: noise at 0, data at 1

## Glue

```python
import numpy as np
import kinetic_jax as kj

# A comment, which is no glue.
field = kj.from_vector_field(lambda t, y, args: y)
run = kj.sample(field, np.ones((1, 1), np.float32), num_steps=2)
```

## Check

```python
from benchmarks.clients import compare

result = compare(run, np.ones((1, 1)), lambda t, x: FACTOR * x)
print(result)
```

```text
before
```
"""
# Called as an interpreter: makes the environment, and is the interpreter in it.
INTERPRETER = """\
#!/bin/sh
echo "$@" >> {log}
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
case "$*" in *missing.txt*)
  echo "WARNING: a mirror is slow" >&2
  echo "ERROR: No matching distribution found for missing==1.0" >&2
  exit 1;;
*_child*) exec sleep 30;;
esac
"""


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    """A gallery of three clients: one that holds, one that differs, one not to be installed."""
    folder = tmp_path / "gallery"
    (folder / "requirements").mkdir(parents=True)
    for name, factor in (("differs", 1.001), ("holds", 1), ("missing", 1)):
        (folder / f"{name}.md").write_text(PAGE.replace("FACTOR", str(factor)))
    (folder / "README.md").write_text("Gallery\n\n<!-- clients -->\n<!-- /clients -->\n\nEnd.\n")
    requirements = {"constraints": "click==8\n", "base": "click==8\n", "missing": "missing==1.0\n"}
    for name, text in requirements.items():
        (folder / "requirements" / f"{name}.txt").write_text(text)
    monkeypatch.setattr(command, "GALLERY", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def interpreter(tmp_path):
    """A command that does what `python -m venv` and pip do, but installs nothing."""
    script = tmp_path / "python"
    script.write_text(INTERPRETER.format(log=tmp_path / "log"))
    script.chmod(0o755)
    return script


def calls(tmp_path):
    return (tmp_path / "log").read_text().splitlines()


def in_process(name, python, folder):
    """Runs a page without a process of its own."""
    page = pages(command.GALLERY)[name]
    if name == "missing":
        return failure("2026-01-02", {"missing": "1.0"}, "ERROR: no such | package")
    result, output = run_page(read_page(page))
    return {
        **failure("2026-01-02", {}, ""),
        "error": None,
        "differences": result.differences,
        "output": output,
    }


def run(*arguments):
    return CliRunner().invoke(command.command, [str(argument) for argument in arguments])


def test_page_is_taken_apart_on_its_own_lines(gallery):
    page = read_page(gallery / "holds.md")
    assert page.title == "A client"
    assert page.glue == PAGE.splitlines()[8:10] + PAGE.splitlines()[12:14]
    assert page.program.splitlines()[9] == "import kinetic_jax as kj"
    result, output = run_page(page)
    # Two steps of 1/2: x = 1, 3/2, 9/4, and E = 1/2 (1/2 + 9/8).
    np.testing.assert_allclose(result.energies, [13 / 16])
    assert output == f"{result}\n"
    write_output(page, output)
    assert (gallery / "holds.md").read_text() == PAGE.replace("FACTOR", "1").replace(
        "before\n", output
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# A client", "A client", "must have a heading"),
        ("```text\nbefore\n```\n", "", "at the end one of text"),
        ("## Glue", "## Attached", 'under the heading "Glue"'),
    ],
)
def test_incomplete_pages_are_refused(gallery, old, new, message):
    (gallery / "holds.md").write_text(PAGE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_page(gallery / "holds.md")


def test_pages_without_result_or_facts_are_refused(gallery):
    (gallery / "holds.md").write_text(PAGE.replace("result", "outcome").replace("FACTOR", "1"))
    with pytest.raises(ValueError, match="must leave what `compare` returns in `result`"):
        run_page(read_page(gallery / "holds.md"))
    (gallery / "holds.md").write_text(PAGE.replace("- clock", "clock"))
    with pytest.raises(ValueError, match='must have a line "- clock: '):
        table({}, gallery)


def test_failures_are_recorded_and_the_others_go_on(gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "run_client", in_process)
    out = tmp_path / "clients.json"
    result = run("--python", "python", "--out", out, "--write")
    assert result.exit_code == 1
    assert "2 of 3 failed: differs, missing" in result.output
    assert "FAILED: differs in x1 by 7e-04, E by 2e-03 (limit 1e-05)" in result.output
    clients = read_record(out)
    assert not re.search(r"NaN|Infinity", out.read_text())  # which are no JSON
    assert list(clients) == ["differs", "holds", "missing"]
    assert clients["missing"]["error"] == "ERROR: no such | package"
    # What a page printed is written only where it holds.
    assert read_page(gallery / "holds.md").output == clients["holds"]["output"]
    assert read_page(gallery / "differs.md").output == "before\n"
    text = (gallery / "README.md").read_text()
    assert table(clients, gallery) in text
    assert text.startswith("Gallery\n")
    assert text.endswith("\n\nEnd.\n")
    lines = text.splitlines()
    assert "failed | | `ERROR: no such \\| package` |" in text
    (holds,) = (line for line in lines if "holds.md" in line)
    said = "click 8 | velocity | noise at 0, data at 1 | `from_vector_field` | 4 lines"
    assert holds.startswith(f"| [A client](holds.md) | {said} | < 1e-5 | < 1e-5 |")


def test_a_named_client_alone_leaves_the_others_in_the_record(gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "run_client", in_process)
    out = tmp_path / "clients.json"
    write_client(out, "missing", failure("2026-01-01", {}, "ERROR"))
    result = run("holds", "holds", "--python", "python", "--out", out)
    assert result.exit_code == 0, result.output
    assert "[1/1] holds" in result.output
    assert set(read_record(out)) == {"holds", "missing"}
    assert read_page(gallery / "holds.md").output == "before\n"
    assert table({}, gallery).count("not run | |") == 3


def test_unknown_clients_are_named(gallery):
    result = run("hold")
    assert result.exit_code == 2
    assert "no client hold; there are differs, holds, missing" in result.output


def test_interrupt_keeps_what_was_run(gallery, tmp_path, monkeypatch):
    def interrupted(name, *arguments):
        if name == "holds":
            raise KeyboardInterrupt
        return in_process(name, *arguments)

    monkeypatch.setattr(command, "run_client", interrupted)
    out = tmp_path / "clients.json"
    with pytest.raises(KeyboardInterrupt, match=r"that were run to the end are in .*clients\.json"):
        command.command.callback((), "python", tmp_path, out, False)
    assert set(read_record(out)) == {"differs"}


def test_environment_is_made_once(gallery, interpreter, tmp_path):
    (gallery / "requirements" / "holds.no-deps.txt").write_text("bare==2\n")
    messages = []
    make = functools.partial(environments.environment, log=messages.append)
    own = make("holds", str(interpreter), tmp_path / "all", gallery)
    requirements = gallery / "requirements"
    venv, installed, bare = calls(tmp_path)
    assert venv == f"-m venv {own.parents[1]}"
    assert installed.endswith(f"-r {requirements / 'base.txt'} -e {ROOT}")
    assert bare.endswith(f"--no-deps -r {requirements / 'holds.no-deps.txt'}")
    assert make("holds", str(interpreter), tmp_path / "all", gallery) == own
    assert len(calls(tmp_path)) == 3
    assert messages == [f"installing base.txt into {own.parents[1]}"]
    # Other requirements are another environment, and so is one that was interrupted.
    assert make("differs", str(interpreter), tmp_path / "all", gallery) != own
    assert len(calls(tmp_path)) == 5
    (own.parents[1] / environments.INSTALLED).unlink()
    make("holds", str(interpreter), tmp_path / "all", gallery)
    assert len(calls(tmp_path)) == 8


def test_error_of_pip_is_the_record(gallery, interpreter, tmp_path):
    client = command.run_client("missing", str(interpreter), tmp_path / "all")
    assert client["error"] == "ERROR: No matching distribution found for missing==1.0"
    assert client["versions"] == {"missing": "1.0"}
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(environments.InstallError, match="nowhere: No such file"):
        environments.environment("holds", nowhere, tmp_path / "all", gallery, log=print)


def test_a_record_without_numbers_is_json():
    assert json.loads(json.dumps(failure("2026-01-02", {}, "ERROR"), allow_nan=False))
    client = {**failure("2026-01-02", {}, ""), "error": None, "differences": {"x1": None}}
    assert verdict(client) == "differs in x1 by NaN (limit 1e-05)"


def test_environments_are_the_users_alone(gallery, tmp_path, monkeypatch):
    folder = environments.cache()
    assert folder == tmp_path / "cache" / "kinetic-jax" / "clients"
    monkeypatch.setattr(command, "run_client", in_process)
    assert run("holds", "--python", "python").exit_code == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(read_record(folder / "clients.json")) == {"holds"}
    for relative in ("", "cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert environments.cache() == tmp_path / ".cache" / "kinetic-jax" / "clients"


@pytest.mark.skipif(os.name == "nt", reason="no modes of files")
def test_folders_that_others_may_write_are_refused(gallery, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    result = run("holds", "--environments", shared)
    assert result.exit_code == 2
    assert "must not be writable by all" in " ".join(result.output.replace("│", " ").split())
    shared.chmod(0o700)
    environments.make_private(shared)
    monkeypatch.setattr(os, "getuid", lambda: shared.stat().st_uid + 1)
    with pytest.raises(ValueError, match="shared must be yours"):
        environments.make_private(shared)


def test_a_page_without_end_is_stopped(gallery, interpreter, tmp_path):
    """The interpreter sleeps where it is to run a page."""
    start = time.monotonic()
    client = command.run_client("holds", str(interpreter), tmp_path / "all", timeout=0.2)
    assert client["error"] == "the page had not ended after 0.2 s"
    assert time.monotonic() - start < 5


def test_lines_while_pip_works(monkeypatch):
    monkeypatch.setattr(environments, "LINE_SECONDS", 0.1)
    lines, slow = [], "import time; time.sleep(0.5); print('done')"
    output = environments._output(sys.executable, "-c", slow, log=lines.append, doing="installing")
    assert (output, lines[0]) == ("done\n", "still installing after 0 s")
    assert len(lines) >= 3


def test_newest_python(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "NEWEST", (3, 0))
    assert environments.newest_python() == sys.executable
    monkeypatch.setattr(environments, "NEWEST", (3, 99))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"no python3.99 on the path: .* --python"):
        environments.newest_python()
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\necho 'pyenv: not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    with pytest.raises(ValueError, match=r"does not run: .*pyenv: not found"):
        environments.newest_python()


@pytest.mark.long
def test_a_page_runs_in_a_process_of_its_own(gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "environment", lambda *arguments, log: sys.executable)
    client = command.run_client("holds", "python", tmp_path)
    assert client["error"] is None
    assert set(client["differences"]) == {"x1", "E"}
    assert set(client["versions"]) == {"click", "jax", "flax", "numpy"}
    text = (gallery / "holds.md").read_text()
    (gallery / "holds.md").write_text(text.replace("num_steps=2", "num_step=2"))
    error = command.run_client("holds", "python", tmp_path)["error"]
    assert "holds.md" in error
    assert "unexpected keyword argument 'num_step'" in error


def test_help_names_the_command():
    from benchmarks.__main__ import main

    result = CliRunner().invoke(main, ["clients", "--help"])
    assert result.exit_code == 0
    assert "docs/gallery" in result.output
    assert isinstance(main.get_command(click.Context(main), "clients"), click.Command)
