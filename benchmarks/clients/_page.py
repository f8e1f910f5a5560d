"""A page of the gallery: Markdown whose Python blocks are one program, with its output."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.clients._compare import Comparison
from kinetic_jax._files import write_whole

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
GLUE = "glue"
MAX_GLUE = 10


class Page(NamedTuple):
    """The parts of a page.

    Attributes:
        name: of the client.
        title: its heading.
        path: the file.
        program: the Python blocks, each on the lines where the page has it, so that tracebacks
            point into the page.
        glue: the lines of code, without comments, of the block under the heading "Glue".
        output: what the program printed when the page was last written.
    """

    name: str
    title: str
    path: Path
    program: str
    glue: list[str]
    output: str


def pages(folder: Path = GALLERY) -> dict[str, Path]:
    """The pages of a gallery by name."""
    return {path.stem: path for path in sorted(folder.glob("*.md")) if path.stem != "README"}


def read_page(path: Path) -> Page:
    """Takes a page apart.

    Raises:
        ValueError: if it has no heading, no block of glue, or not one output after its program.
    """
    text = path.read_text()
    blocks = list(BLOCK.finditer(text))
    kinds = [block["kind"] for block in blocks]
    is_page = text.startswith("# ") and kinds[-1:] == ["text"] and set(kinds[:-1]) == {"python"}
    if not is_page:
        raise ValueError(
            f"{path} must have a heading, blocks of Python and at the end one of text, got {kinds}"
        )
    program, glue = [""] * text.count("\n"), None
    for block in blocks[:-1]:
        code = block["text"].splitlines()
        first = text.count("\n", 0, block.start("text"))
        program[first : first + len(code)] = code
        heading = re.findall(r"^#+ (.*)$", text[: block.start()], re.MULTILINE)[-1]
        if heading.lower() == GLUE:
            glue = [line for line in code if line.strip() and not line.strip().startswith("#")]
    if glue is None:
        raise ValueError(f'{path} must have a block of Python under the heading "Glue"')
    title = text.splitlines()[0].removeprefix("# ")
    return Page(path.stem, title, path, "\n".join(program), glue, blocks[-1]["text"])


def run_page(page: Page) -> tuple[Comparison, str]:
    """Runs the program of a page in this process.

    Returns:
        Its variable `result`, and what it printed.

    Raises:
        ValueError: if it leaves no `result` of `compare`.
    """
    variables: dict[str, Any] = {"__name__": f"gallery_{page.name}"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(page.program, str(page.path), "exec"), variables)
    result = variables.get("result")
    if not isinstance(result, Comparison):
        raise ValueError(f"{page.path} must leave what `compare` returns in `result`")
    return result, printed.getvalue()


def write_output(page: Page, output: str) -> None:
    """Puts what the program printed into the page."""
    text = page.path.read_text()
    last = list(BLOCK.finditer(text))[-1]
    text = text[: last.start("text")] + output + text[last.end("text") :]
    write_whole(page.path, text.encode())
