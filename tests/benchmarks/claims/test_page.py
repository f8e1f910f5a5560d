"""What the page says of the claims: outcomes in words, and a section on other images."""

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.claims import _in_words
from benchmarks.claims._page import END, OTHER_END, OTHER_START, START, others_into_page


def about(value, half=0.01):
    return {"value": value, "low": value - half, "high": value + half}


def words_of(name, results):
    return _in_words.in_words({name: {"found": results}})


def test_only_claims_that_are_there_have_a_line():
    assert _in_words.in_words({"kts": {"found": {}}}) == "\n"


@pytest.mark.parametrize(
    ("by_snap", "agree"), [("2000", "1 of 1"), ("4000", "0 of 1"), (None, "0 of 1")]
)
def test_checkpoints(by_snap, agree):
    runs = [{"by_data": "2000", "by_snap": by_snap}]
    earliest = {"500": "1000", "1000": "it copies already", "2000": None}
    text = words_of("compare", {"runs": runs, "first": 250, "earliest": earliest})
    assert text.startswith("- *The checkpoint to take.* F_mem, which")
    assert f"before copying on {agree} noises; F_mem names step 2,000." in text
    assert "Snap is against step 250; against others it names step 1,000 against 500, " in text
    assert text.endswith("none against 2,000.\n")


def rejection(family, name, share, distance, *, oracle=None):
    figures = {"f_mem": about(share), "frechet": about(distance)}
    against = None if oracle is None else {"f_mem": about(oracle), "frechet": about(-0.1)}
    return {"family": family, "name": name, "completed": figures, "against the oracle": against}


def rejections(*, on_front):
    rows = [
        rejection("no rejection", "no rejection", 0.45, 0.5),
        rejection("random", "all together", 0.45, 0.5, oracle=0.1),
        rejection("snap", "within classes", 0.33, 0.8, oracle=0.01),
        rejection("snap", "within clusters", 0.32, 0.6 if on_front else 0.7, oracle=0.03),
        rejection("early, by a detector", "early, by a detector", 0.2, 5.0),
        rejection("mixed", "w = 0.8", 0.26, 0.65),
        rejection("KTS", "landing", 0.35, 0.5),
    ]
    front = ["mixed, w = 0.8", "KTS, landing"] + ["snap, within clusters"] * on_front
    return {"rows": rows, "share": 0.2, "front": front}


def test_rejections_off_the_front():
    text = words_of("reject", rejections(on_front=False))
    assert "at no greater distance in 1 of 2 cases" in text
    assert "there is none of the 3 rejections at the end or early." in text
    # The early one has fewer copies; KTS has more of them than any, but nearer.
    assert (
        "mixed, w = 0.8, 26.0% at a distance of 0.65 (fewer copies than 2 of the 3 rejections, at "
        "a smaller distance than 2 of these); KTS, landing, 35.0% at a distance of 0.50 (no fewer "
        "copies than any of the 3 rejections, at a smaller distance than 3 of these)."
    ) in text
    assert "Without rejection or gain: 45.0% at a distance of 0.50." in text


def test_rejections_on_the_front():
    text = words_of("reject", rejections(on_front=True))
    assert "there is snap, within clusters of the 3 rejections" in text
    assert "snap, within clusters, 32.0% at a distance of 0.60 (fewer copies than 1 of" in text


OTHERS = {
    "data": "digits", "quick": False, "trained here": True, "seconds": 999.0, "device": "cpu (cpu)",
    "cores": 2,
}  # fmt: skip


def of_detector():
    area = about(0.9)
    quality = {"auc": area, "clear auc": area, "tpr 1%": area, "tpr 0.1%": area}
    statistics = {"snap": quality, "total_variation": quality}
    results = {
        "f_mem": about(0.3), "statistics": statistics, "detectors": {}, "along": [],
        "snap": {"best": None}, "transfer": {}, "runs": {}, "from shipped": {},
    }  # fmt: skip
    return {"found": results, "verdict": "of an earlier version", "seconds": 120.0}


def test_a_section_on_other_images():
    page = f"before\n{OTHER_START}\nstale\n{OTHER_END}\nafter\n"
    new = others_into_page(page, OTHERS | {"claims": {"kts": {}, "detector": of_detector()}})
    assert new.startswith(f"before\n{OTHER_START}\n\n## Copies of other images\n\nMeasured by ")
    assert "claims detector --data digits --into docs/results.md`: 2 minutes on cpu" in new
    assert "by the same command.\n\n30.0% (29.0 to 31.0) of the samples are copies" in new
    assert new.count("| `detector` |") == 2
    assert "of an earlier version" not in new
    assert new.endswith(f"{OTHER_END}\nafter\n")
    assert "stale" not in new


@pytest.mark.parametrize("changed", [{"quick": True}, {"trained here": False}, {"claims": {}}])
def test_a_section_of_other_results_is_refused(changed):
    page = f"{OTHER_START}\n{OTHER_END}\n"
    results = OTHERS | {"claims": {"detector": of_detector()}} | changed
    with pytest.raises(ValueError, match="section on other images is of detector"):
        others_into_page(page, results)


def test_a_page_without_a_place_for_other_images_is_refused_first(tmp_path):
    page, out = tmp_path / "page.md", tmp_path / "out"
    page.write_text(f"{START}\n{END}\n")
    command = ["claims", "detector", "--data", "digits", "--into", str(page), "--out", str(out)]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1
    assert "must have the marks <!-- other images -->" in refused.output
    refused = CliRunner().invoke(main, [*command, "--quick"])
    assert "or for detector of other images" in refused.output
    assert not out.exists()
