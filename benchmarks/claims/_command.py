"""`python -m benchmarks claims`."""

from pathlib import Path
from typing import Any

import click

from kinetic_jax._cli._options import FOLDER, LocalPath, say
from kinetic_jax._files import write_whole
from kinetic_jax._interrupt import advice_on_interrupt
from kinetic_jax.data import load_images
from kinetic_jax.data._fashion_mnist import holds_fashion_mnist

CLAIMS = (
    *("semantics", "sparsity", "spike", "goldilocks", "kts", "completion", "ablation", "onset"),
    *("images", "compare", "detector", "reject", "select", "tune"),
)


@click.command("claims")
@click.argument(
    "claims", nargs=-1, required=True, metavar="CLAIM...", type=click.Choice([*CLAIMS, "all"])
)
@click.option(
    "--data",
    metavar="NAME-OR-PATH",
    help="A folder with Fashion-MNIST, for the models that come with the package; or other "
    "labelled images (as `load_images` reads them), on which models are trained first: up to an "
    "hour, a tenth of it with --quick.",
)
@click.option("--quick", is_flag=True, help="Smaller settings, for a look: a few minutes.")
@click.option(
    "--out",
    type=FOLDER,
    help="Folder for results, figures and the report; what is done there is kept. "
    "By default claims-out, and one of its own for other images.",
)
@click.option(
    "--into",
    "page",
    type=LocalPath(exists=True, dir_okay=False),
    help="Puts the table of figures into the marked region of this page, docs/results.md: of all "
    "claims, at full settings, on the models that come with the package.",
)
def command(
    claims: tuple[str, ...], data: str | None, quick: bool, out: Path | None, page: Path | None
) -> None:
    """Measure the published CLAIMs about kinetic energy on images; "all" for all of them.

    \b
    semantics   classifier's margin by energy
    sparsity    correlation with local support, in several frames
    spike       late speed of exact and learned flows
    goldilocks  quality and copies by each kinetic quantity
    kts         shaping against its controls
    completion  copies among samples completed by one evaluation
    ablation    one factor at a time
    onset       what announces memorisation in training
    images      energies and log densities of given images, trained on or held out
    compare     the last checkpoint before copying, with and without the training images
    detector    copies detected without the training images
    reject      likely copies rejected, at the end or early
    select      the best of several candidates, at equal numbers of evaluations
    tune        tuned gains and time grids, with what they promise and keep on fresh noise
    """  # noqa: D301 - click's mark for lines as they are is the character itself
    from benchmarks.claims import into_page, reproduce, require_marks

    names = list(CLAIMS) if "all" in claims else list(dict.fromkeys(claims))
    shipped = data is None or data == "fashion-mnist" or holds_fashion_mnist(data)
    if out is None:
        out = Path("claims-out" if shipped else f"claims-out-{Path(str(data)).stem}")
    if page is not None:
        if quick or not shipped or names != list(CLAIMS):
            raise ValueError("--into is for all claims, at full settings, of shipped models")
        require_marks(page.read_text())
    out.mkdir(parents=True, exist_ok=True)
    advice = f"the same command begins again with the claim it was in, from {out}"
    with advice_on_interrupt(advice):
        subjects = _subjects(data, out, shipped=shipped, quick=quick)
        results = reproduce(names, out, subjects, quick=quick, say=say)
    if page is not None:
        write_whole(page, into_page(page.read_text(), results).encode())
    minutes = results["seconds"] / 60
    count = len(results["claims"])
    say(f"\n{count} claim{'s' * (count != 1)}, {minutes:.1f} minutes of measuring")
    out = out / "quick" if quick else out
    say(f"report: {out / 'report.html'}\nnumbers: {out / 'results.json'}")


def _subjects(data: str | None, out: Path, *, shipped: bool, quick: bool) -> Any:
    from benchmarks.claims import shipped_subjects, trained_subjects

    folder = (out / "quick" if quick else out) / "models"
    if shipped:
        return shipped_subjects(folder, None if data == "fashion-mnist" else data)
    assert data is not None, "Fashion-MNIST is the default"
    images = load_images(data)
    say(f"training models on {images.name}: {len(images.images):,} images, in {folder}")
    return trained_subjects(images, folder, quick=quick)
