"""`python -m benchmarks claims` and `train`: what they can do and what they refuse."""

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.claims import CLAIMS


def test_help_names_the_claims(tmp_path):
    shown = CliRunner().invoke(main, ["claims", "--help"])
    assert all(name in shown.output for name in CLAIMS)
    refused = CliRunner().invoke(main, ["claims", "luck", "--out", str(tmp_path)])
    assert refused.exit_code == 2
    assert "'luck' is not one of 'semantics'" in refused.output


@pytest.mark.parametrize("command", ["claims", "train"])
def test_images_that_do_not_serve(command, tmp_path):
    np.save(tmp_path / "some.npy", np.zeros((30, 4, 4), np.uint8))
    head = {"claims": ["claims", "all", "--data"], "train": ["train"]}[command]
    for name, text in (("some.npy", "must have labels"), ("none", "there is no file, folder or")):
        command = [*head, str(tmp_path / name), "--out", str(tmp_path / "out")]
        answer = CliRunner().invoke(main, command)
        assert answer.exit_code == 1
        assert text in answer.output
        assert "Traceback" not in answer.output
