"""What came out of each client, as a file and as the table of the gallery."""

import json
import re
from pathlib import Path
from typing import TypedDict

from benchmarks.clients._compare import LIMIT, gap_text, is_within
from benchmarks.clients._environment import pinned, requirements
from benchmarks.clients._page import GALLERY, Page, pages, read_page
from kinetic_jax._files import write_whole

RECORD = Path(__file__).parents[1] / "results" / "clients.json"
START, END = "<!-- clients -->\n", "<!-- /clients -->\n"
FACTS = ("predicts", "clock")
FACT = r"^- {}: (.*)$"
HELPERS = re.compile(r"\b(from_\w+|edm_denoiser|\w+_schedule|cfg)\(")


class Client(TypedDict):
    """What came out of one client; of a failure the day, the packages and the error.

    Attributes:
        measured: the day, YYYY-MM-DD.
        python: its version.
        versions: of the packages that the requirements pin, and of JAX, Flax and NumPy.
        differences: the largest of x1, E and whatever else the page compares; None for NaN.
        energy: the mean of E; None for NaN, or if it did not run.
        output: what the page printed.
        seconds: for the page, without installation.
        error: of pip or of the page; None if it ran.
    """

    measured: str
    python: str
    versions: dict[str, str]
    differences: dict[str, float | None]
    energy: float | None
    output: str
    seconds: float
    error: str | None


def failure(measured: str, versions: dict[str, str], error: str) -> Client:
    """The record of a client that did not run."""
    return {
        "measured": measured,
        "python": "",
        "versions": versions,
        "differences": {},
        "energy": None,
        "output": "",
        "seconds": 0.0,
        "error": error,
    }


def verdict(client: Client) -> str | None:
    """Why a client does not hold; None if it does."""
    if client["error"] is not None:
        return client["error"]
    beyond = {name: gap for name, gap in client["differences"].items() if not is_within(gap)}
    gaps = ", ".join(f"{name} by {gap_text(gap)}" for name, gap in beyond.items())
    return f"differs in {gaps} (limit {LIMIT:.0e})" if beyond else None


def read_record(file: Path) -> dict[str, Client]:
    """The clients of a file by name; none if there is no file."""
    return json.loads(file.read_text())["clients"] if file.exists() else {}


def write_client(file: Path, name: str, client: Client) -> None:
    """Puts one client into a file, beside the others."""
    clients = {**read_record(file), name: client}
    ordered = dict(sorted(clients.items()))
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"limit": LIMIT, "clients": ordered}, indent=1, allow_nan=False)
    write_whole(file, f"{text}\n".encode())


def facts(page: Page) -> dict[str, str]:
    """What a page says about its client in the list under its heading.

    Raises:
        ValueError: if it does not say what the model predicts and on which clock.
    """
    text = page.path.read_text()
    said = {name: re.search(FACT.format(name), text, re.MULTILINE) for name in FACTS}
    missing = [name for name, match in said.items() if match is None]
    if missing:
        raise ValueError(f'{page.path} must have a line "- {missing[0]}: ..."')
    return {name: match[1] for name, match in said.items() if match is not None}


def table(clients: dict[str, Client], folder: Path = GALLERY) -> str:
    """A line for each page of the gallery, in Markdown."""
    lines = [
        "| client | with | predicts | clock | adapters | glue | x1 | E | others |",
        "| --- | --- | --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for name, path in pages(folder).items():
        page = read_page(path)
        said = facts(page)
        packages = ", ".join(
            f"{package} {version}"
            for package, version in pinned(requirements(name, folder)).items()
        )
        helpers = dict.fromkeys(HELPERS.findall("\n".join(page.glue)))
        cells = [
            f"[{page.title}]({path.name})",
            packages,
            *said.values(),
            ", ".join(f"`{helper}`" for helper in helpers) or "none",
            f"{len(page.glue)} lines",
            _outcome(clients.get(name)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _outcome(client: Client | None) -> str:
    """The last three cells of a client's line."""
    if client is None:
        return "not run | | "
    if client["error"] is not None:
        message = " ".join(client["error"].replace("|", "\\|").split())
        return f"failed | | `{message}`"
    gaps = {name: gap_text(gap) for name, gap in client["differences"].items()}
    ours = [gaps.pop("x1"), gaps.pop("E")]
    return " | ".join([*ours, ", ".join(f"{name} {gap}" for name, gap in gaps.items())])


def write_table(clients: dict[str, Client], folder: Path = GALLERY) -> None:
    """Puts the table between the marks of the gallery's README.

    Raises:
        ValueError: if it has no marks.
    """
    page = folder / "README.md"
    text = page.read_text()
    if START not in text or END not in text:
        raise ValueError(f"{page} must have the marks {START.strip()} and {END.strip()}")
    before, after = text.split(START)[0], text.split(END)[1]
    write_whole(page, f"{before}{START}\n{table(clients, folder)}\n{END}{after}".encode())
