"""Files of arrays, intact and damaged, and the commands that read them."""

import gzip
import io
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.stats import binomtest

from kinetic_jax._arrays import load_array
from kinetic_jax._cli import cli
from kinetic_jax.metrics import memorization

ROWS = np.random.default_rng(0).integers(0, 256, (12, 4, 5)).astype(np.uint8)
IDX = struct.pack(">BBBBIII", 0, 0, 8, 3, *ROWS.shape) + ROWS.tobytes()


def write(folder, kind):
    path = folder / f"rows.{kind}"
    if kind == "npy":
        np.save(path, ROWS)
    elif kind == "npz":
        np.savez(path, ROWS)
    elif kind == "idx":
        path.write_bytes(IDX)
    elif kind == "gz":
        path.write_bytes(gzip.compress(IDX))
    else:
        path.mkdir()
        for number, row in enumerate(ROWS):
            Image.fromarray(row).save(path / f"{number:03d}.png")
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "idx", "gz"])
def test_formats(tmp_path, kind):
    np.testing.assert_array_equal(load_array(write(tmp_path, kind)), ROWS)


@pytest.mark.parametrize("kind", ["npy", "idx"])
def test_large_files_are_mapped(tmp_path, kind):
    assert isinstance(load_array(write(tmp_path, kind)), np.memmap)


def test_a_folder_of_images(tmp_path):
    images = load_array(write(tmp_path, "folder"))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, ROWS)


def test_images_of_other_modes(tmp_path):
    """Palettes are read as colours, bits as 0 and 255."""
    gray = Image.fromarray(np.repeat(np.arange(0, 256, 64, dtype=np.uint8)[None], 4, axis=0))
    for mode in ("P", "1"):
        (tmp_path / mode).mkdir()
        gray.convert("RGB").convert(mode).save(tmp_path / mode / "a.PNG")
    colours = load_array(tmp_path / "P")
    assert colours.shape == (1, 4, 4, 3)
    np.testing.assert_allclose(colours[0, 0, :, 0], np.arange(0, 256, 64), atol=26)
    assert set(np.unique(load_array(tmp_path / "1"))) <= {0, 255}
    Image.fromarray(ROWS[0].astype(np.uint16)).save(tmp_path / "P" / "b.png")
    Image.fromarray(ROWS[0]).save(tmp_path / "P" / "a.PNG")
    with pytest.raises(ValueError, match=r"b\.png must have the depth of a\.PNG, uint8, got"):
        load_array(tmp_path / "P")


def test_damage_inside(tmp_path):
    """Every error of a reader names the file."""
    rng = np.random.default_rng(0)
    for kind in ("npy", "npz", "gz"):
        path = write(tmp_path, kind)
        content = bytearray(path.read_bytes())
        for _ in range(60):
            broken = bytearray(content)
            for place in rng.integers(0, len(content), 4):
                broken[place] ^= int(rng.integers(1, 256))
            path.write_bytes(bytes(broken))
            try:
                load_array(path)
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"text\.npy .* its array must hold real numbers, got"):
        load_array(tmp_path / "text.npy")


def test_one_array_of_several(tmp_path):
    np.savez(tmp_path / "a.npz", x=ROWS, y=ROWS[:3])
    np.testing.assert_array_equal(load_array(f"{tmp_path / 'a.npz'}:y"), ROWS[:3])
    with pytest.raises(ValueError, match=r"a\.npz .* hold one array .*\['x', 'y'\]"):
        load_array(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"name must be one of \['x', 'y'\], got z"):
        load_array(f"{tmp_path / 'a.npz'}:z")


@pytest.mark.parametrize("kind", ["npy", "npz", "idx", "gz"])
def test_truncated_files_are_named_with_their_size(tmp_path, kind):
    path = write(tmp_path, kind)
    content = path.read_bytes()
    for size in (0, 3, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=rf"rows\.{kind} \({size:,} bytes\) is unreadable"):
            load_array(path)


@pytest.mark.parametrize("claimed", [10, 2**31], ids=["less than it holds", "more"])
def test_a_gzip_is_unpacked_no_further_than_its_header_says(tmp_path, claimed):
    header = struct.pack(">BBBBI", 0, 0, 8, 1, claimed)
    packed = gzip.compress(header + bytes(2**26), 1)
    (tmp_path / "rows.gz").write_bytes(packed)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"rows\.gz .* must take {claimed:,} bytes, got"):
        load_array(tmp_path / "rows.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21


def test_an_array_that_claims_more_than_its_file_holds(tmp_path):
    member = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**45,)}
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as archive:
        archive.writestr("rows.npy", member.getvalue() + bytes(10))
    (tmp_path / "rows.npy").write_bytes(member.getvalue() + bytes(10))
    for name in ("rows.npz", "rows.npy"):
        with pytest.raises(ValueError, match=rf"{name} \([\d,]+ bytes\) is unreadable"):
            load_array(tmp_path / name)


def test_other_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*nothing"):
        load_array(tmp_path / "nothing")
    (tmp_path / "text.txt").write_text("no numbers")
    with pytest.raises(ValueError, match=r"text\.txt \(10 bytes\).* be those of an idx file"):
        load_array(tmp_path / "text.txt")
    (tmp_path / "images").mkdir()
    with pytest.raises(
        ValueError,
        match=r"images must hold pictures in the formats .*, got none",
    ):
        load_array(tmp_path / "images")
    (tmp_path / "images" / "a.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"a\.png \(4 bytes\) is unreadable"):
        load_array(tmp_path / "images")
    Image.fromarray(ROWS[0]).save(tmp_path / "images" / "a.png")
    Image.fromarray(ROWS[0, :3]).save(tmp_path / "images" / "b.png")
    with pytest.raises(ValueError, match=r"b\.png must have the shape of a\.png, \(4, 5\), got"):
        load_array(tmp_path / "images")


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_neighbors_command(tmp_path):
    train = write(tmp_path, "gz")
    samples = ROWS[[3, 7]].astype(np.float32)
    samples[1, 0, 0] = np.nan
    np.save(tmp_path / "samples.npy", samples)
    result = run("neighbors", tmp_path / "samples.npy", train, "--k", 3, "--chunk-size", 5,
               "--plot", tmp_path / "distances.png")  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    gaps = np.linalg.norm((ROWS.astype(float) - ROWS[3]).reshape(12, -1), axis=1)
    assert report["indices"][0] == np.argsort(gaps)[:3].tolist()
    np.testing.assert_allclose(report["distances"][0], np.sort(gaps)[:3], rtol=1e-5)
    assert (report["not_finite"], report["indices"][1], report["train"]) == ([1], None, 12)
    assert (tmp_path / "distances.png").read_bytes()[:4] == b"\x89PNG"


def test_memorization_command(tmp_path):
    train = write(tmp_path, "idx")
    samples = ROWS[:4].astype(np.float32)
    samples[3] = np.nan
    np.save(tmp_path / "samples.npy", samples)
    np.save(tmp_path / "fresh.npy", np.full((2, 4, 5), 128, np.uint8))
    result = run("memorization", tmp_path / "samples.npy", train, "--held-out",
               tmp_path / "fresh.npy", "--plot", tmp_path / "ratios.png")  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["samples"]["fraction"] == 1.0
    assert report["samples"]["not_finite"] == [3]
    assert report["samples"]["nearest"] == [0, 1, 2, None]
    assert report["samples"]["memorized"] == [True, True, True, None]
    assert report["held_out"]["fraction"] == 0.0
    wanted = memorization(samples, ROWS.astype(np.float32), held_out=np.full((2, 4, 5), 128.0))
    assert report["samples"]["interval"] == [wanted.low, wanted.high]
    assert report["samples"]["bootstrap_interval"] == list(wanted.bootstrap)
    assert report["samples"]["sweep"]["fraction"] == wanted.sweep.fraction.tolist()
    assert report["excess"] == {"fraction": 1.0, "interval": list(wanted.excess[1:])}
    assert (tmp_path / "ratios.png").read_bytes()[:4] == b"\x89PNG"


def test_completed_samples_on_the_command_line(tmp_path):
    noise = np.random.default_rng(0).normal(size=(4, *ROWS.shape[1:])).astype(np.float32)
    for name, rows in (("samples", ROWS[:4] + 300 * noise), ("completed", ROWS[:4])):
        np.save(tmp_path / f"{name}.npy", rows.astype(np.float32))
    others = [part for name in ("completed", "plain")
              for part in (f"--{name}", tmp_path / "completed.npy")]  # fmt: skip
    result = run("memorization", tmp_path / "samples.npy", write(tmp_path, "npy"), *others)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["samples"]["fraction"] == 0.0
    assert report["completed"]["fraction"] == 1.0
    assert report["completed"]["nearest"] == [0, 1, 2, 3]
    low, high = report["kept_copies"]["interval"]
    assert (low, high) == tuple(binomtest(4, 4).proportion_ci(0.95, method="wilson"))
    assert report["kept"]["fraction"] == 1.0


def test_duplicates_on_the_command_line(tmp_path):
    np.save(tmp_path / "train.npy", np.concatenate([ROWS, ROWS[:2]]))
    np.save(tmp_path / "samples.npy", ROWS[:4])
    for options, fraction in (((), 0.5), (("--merge-duplicates",), 1.0)):
        result = run("memorization", tmp_path / "samples.npy", tmp_path / "train.npy", *options)
        report = json.loads(result.output)["samples"]
        assert (report["fraction"], report["duplicated"]) == (fraction, [True, True, False, False])


def test_samples_without_one_that_is_finite(tmp_path):
    np.save(tmp_path / "samples.npy", np.full((2, 4, 5), np.nan))
    for command, picture in (("memorization", "a.png"), ("neighbors", "b.png")):
        result = run(command, tmp_path / "samples.npy", write(tmp_path, "npy"),
                   "--plot", tmp_path / picture)  # fmt: skip
        assert result.exit_code == 0, result.output
        assert (tmp_path / picture).exists()
    report = json.loads(run("memorization", tmp_path / "samples.npy", tmp_path / "rows.npy").output)
    assert report["samples"]["fraction"] is None
    assert report["samples"]["not_finite"] == [0, 1]


def test_a_picture_that_cannot_be_written_is_refused_first(tmp_path):
    for picture, message in ((tmp_path / "a.jpg", "must end in .png"),
                             (tmp_path / "none" / "a.png", "there is no folder")):  # fmt: skip
        result = run("neighbors", "no samples", "no rows", "--plot", picture)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())


def test_bad_input_ends_in_one_line(tmp_path):
    train = write(tmp_path, "idx")
    np.save(tmp_path / "other.npy", np.zeros((2, 3), np.float32))
    for arguments, message in (
        (("neighbors", tmp_path / "none.npy", train), "there is no file or folder"),
        (
            ("neighbors", tmp_path / "other.npy", train),
            "queries must have the reference's shape, (4, 5)",
        ),
        (("neighbors", train, train, "--k", 13), "k must be a whole number in [1, 12], the"),
        (("memorization", train, train, "--threshold", 2), "threshold must lie in (0, 1], got 2.0"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert message in result.output
        assert "Traceback" not in result.output
