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
    *(
        "efficiency",
        "gains",
        "images",
        "compare",
        "detector",
        "guided",
        "reject",
        "select",
        "tune",
        "seeds",
    ),
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
    help="Puts figures and outcomes into the marked regions of this page, docs/results.md: of all "
    "claims, at full settings, on the models that come with the package; or of the detector on "
    "other images.",
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
    efficiency  mean energy between its bounds, and the steps that are needed
    gains       a gain on the model of all images, beside guidance
    images      energies and log densities of given images, trained on or held out
    compare     the last checkpoint before copying, with and without the training images
    detector    copies detected without the training images
    guided      the same of a model with labels, by guidance as well
    reject      likely copies rejected, at the end or early
    select      the best of several candidates, at equal numbers of evaluations
    tune        tuned gains and time grids, with what they promise and keep on fresh noise
    seeds       the headline figures over trainings with other seeds
    """  # noqa: D301 - click's mark for lines as they are is the character itself
    from benchmarks.claims import into_page, others_into_page, reproduce

    names = list(CLAIMS) if "all" in claims else list(dict.fromkeys(claims))
    shipped = data is None or data == "fashion-mnist" or holds_fashion_mnist(data)
    if out is None:
        out = Path("claims-out" if shipped else f"claims-out-{Path(str(data)).stem}")
    if page is not None:
        _check_page(page, names, shipped=shipped, quick=quick)
    out.mkdir(parents=True, exist_ok=True)
    advice = f"the same command begins again with the claim it was in, from {out}"
    with advice_on_interrupt(advice):
        subjects = _subjects(data, out, shipped=shipped, quick=quick)
        results = reproduce(names, out, subjects, quick=quick, say=say)
    if page is not None:
        put = into_page if shipped else others_into_page
        write_whole(page, put(page.read_text(), results).encode())
    minutes = results["seconds"] / 60
    count = len(results["claims"])
    say(f"\n{count} claim{'s' * (count != 1)}, {minutes:.1f} minutes of measuring")
    out = out / "quick" if quick else out
    say(f"report: {out / 'report.html'}\nnumbers: {out / 'results.json'}")


def _check_page(page: Path, names: list[str], *, shipped: bool, quick: bool) -> None:
    """Refuses, before anything is measured, what the page has no place for."""
    from benchmarks.claims import require_marks
    from benchmarks.claims._page import ON_OTHER_IMAGES, OTHER_END, OTHER_START

    if quick or names != (list(CLAIMS) if shipped else [ON_OTHER_IMAGES]):
        raise ValueError(
            "--into is for all claims, at full settings, of shipped models, or for "
            f"{ON_OTHER_IMAGES} of other images"
        )
    if shipped:
        require_marks(page.read_text())
    else:
        require_marks(page.read_text(), OTHER_START, OTHER_END)


def _subjects(data: str | None, out: Path, *, shipped: bool, quick: bool) -> Any:
    from benchmarks.claims import shipped_subjects, trained_subjects

    folder = (out / "quick" if quick else out) / "models"
    if shipped:
        return shipped_subjects(folder, None if data == "fashion-mnist" else data)
    assert data is not None, "Fashion-MNIST is the default"
    images = load_images(data)
    say(f"training models on {images.name}: {len(images.images):,} images, in {folder}")
    return trained_subjects(images, folder, quick=quick)
