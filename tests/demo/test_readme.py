"""The results in README and documentation are those of the committed runs."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.claims._seeds import ranges
from benchmarks.speed._results import read_results
from kinetic_jax.demo._results import Results, markdown_table
from kinetic_jax.demo._rows import demo_settings
from kinetic_jax.demo._verdict import verdict

ROOT = Path(__file__).parents[2]
RESULTS = Results.from_json(json.loads((ROOT / "benchmarks/results/demo/results.json").read_text()))
CLAIMS = json.loads((ROOT / "benchmarks/results/claims/results.json").read_text())["claims"]
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "results.md").read_text()
LANDING = ("KTS, landing only", "β0 = 0.05")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]


def test_table_is_the_committed_one():
    assert markdown_table(RESULTS) in PAGE


def test_words_are_those_of_the_committed_numbers():
    assert RESULTS.verdict == verdict(RESULTS)
    assert "".join(f"- {sentence}\n" for sentence in RESULTS.verdict) in PAGE


def test_run_was_made_with_the_settings_of_today():
    assert RESULTS.settings == demo_settings(quick=False, seed=0)


def headlines():
    rows = {row.name: row for row in RESULTS.rows}
    plain, shaped = rows["no gain"], rows["KTS"]
    copies = "a training image in {:.1f}% of its samples; with KTS in {:.1f}%"
    yield copies.format(100 * plain.f_mem, 100 * shaped.f_mem)
    yield f"({plain.frechet:.2f} to {shaped.frechet:.2f})"
    yield f"sample, and then {100 * shaped.completed.f_mem:.1f}% are copies"
    support = CLAIMS["sparsity"]["found"]["models"]["all images"]["support"]["kNN, pixels"]
    yield f"dense regions of the data (ρ = {support['total']['plain']['value']:+.2f})"
    excess = support["excess"]["plain"]["value"]
    yield f"same in every frame, correlates with sparse regions (ρ = {excess:+.2f})"
    of_few = CLAIMS["sparsity"]["found"]["models"]["1,024 images"]["support"]["kNN, pixels"]
    framed = [of["class frames"]["plain"]["value"] for of in (of_few, support)]
    yield f"that copies (ρ = {framed[0]:+.2f}) and hardly any in the other ({framed[1]:+.2f})"
    table = dict(re.findall(r"\| `goldilocks` \| AUC of (.*) for copies.*\| (0\.\d\d) \(", PAGE))
    yield f"Energy does not separate copies (AUC {table['E']})"
    yield f"(AUC {table['bending, t in [0.2, 0.4]']})"
    detectors = CLAIMS["detector"]["found"]["detectors"]
    names = ("labels, all features", "no labels, snap")
    areas = [f"(AUC {detectors[name]['auc']['value']:.2f})" for name in names]
    yield f"training images {areas[0]}; one fitted without labels nearly as well {areas[1]}"
    (beaten,) = re.findall(r"settings of KTS with a control .*\| (\d+ of \d+) \|", PAGE)
    yield f"{beaten} settings of KTS have a control with fewer copies at no greater Fréchet"
    settings = CLAIMS["completion"]["found"]["rows"]
    own = next(row for row in settings if (row["family"], row["name"]) == LANDING)
    rates = own["f_mem"], settings[0]["f_mem"], own["completed"]["f_mem"]
    shown = [f"{100 * rate['value']:.1f}%" for rate in rates]
    yield f"hides them: {shown[0]} in place of {shown[1]}, but {shown[2]} once one evaluation"
    yield over_trainings(ranges(CLAIMS["seeds"]["found"]))
    file = re.search(r"<!-- benchmarks: (\S+) -->", (ROOT / "docs/performance.md").read_text())[1]
    peers = read_results(ROOT / "docs" / file)["suites"]["peers"]["records"]
    claims = [claim for record in peers for claim in record["claims"]]
    (ratio,) = (c["ratio"] for c in claims if c["against"] == "flow_matching, no energy")
    yield f"takes {ratio:.2f} of the time that flow_matching's solver takes without it"


def over_trainings(ends):
    rho, area, share = ("{:+.2f} to {:+.2f}", "{:.2f} to {:.2f}", "{:.1f} to {:.1f}%")
    framed, detectors = (
        ("class frames, few", "class frames"),
        ("auc of labels", "auc without labels"),
    )
    copies = ("f_mem", "shaped f_mem", "completed f_mem")
    parts = [
        f"ρ of the energy {rho.format(*ends['energy'])}, in the frames of the classes "
        f"{' and '.join(rho.format(*ends[name]) for name in framed)}, of the excess "
        f"{rho.format(*ends['excess'])}",
        f"AUC of the energy {area.format(*ends['auc of energy'])}, of early bending "
        f"{area.format(*ends['auc of early bending'])}, of the detectors "
        f"{' and '.join(area.format(*ends[name]) for name in detectors)}",
        "copies {}, under a strong landing {}, completed {}".format(
            *(share.format(*(100 * end for end in ends[name])) for name in copies)
        ),
    ]
    return "; ".join(parts)


def test_every_headline_is_checked():
    assert len(list(headlines())) == 13


@pytest.mark.parametrize("number", range(13))
def test_headlines_are_the_committed_figures(number):
    assert list(headlines())[number] in " ".join(README.split())


def test_readme_is_short():
    assert len(README.encode()) <= 8 * 1024


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target
