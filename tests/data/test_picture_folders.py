"""Folders of pictures: classes by natural order, hidden names skipped, mixtures refused."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from kinetic_jax.data import load_images

RAW = np.arange(12 * 20, dtype=np.uint8).reshape(12, 4, 5)


def save(path, image=RAW[0]):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def levels(images):
    """The raw first pixel of each image."""
    return (images.images[:, 0, 0, 0] * 127.5 + 127.5).round().astype(int).tolist()


def test_a_flat_folder(tmp_path):
    for number in range(12):
        save(tmp_path / f"{number}.png", RAW[number])
    images = load_images(tmp_path)
    np.testing.assert_allclose(images.images[..., 0], RAW / 127.5 - 1, atol=1e-6)
    assert (images.labels, images.classes, images.num_classes) == (None, None, None)


def test_class_folders_in_natural_order(tmp_path):
    for number in range(12):
        save(tmp_path / str(number) / "a.png", RAW[number])
    images = load_images(tmp_path)
    assert levels(images) == [20 * number for number in range(12)]
    assert images.labels.tolist() == list(range(12))
    assert images.classes == tuple(map(str, range(12)))


def test_hidden_names_are_skipped(tmp_path, recwarn):
    for name in ("cat/1.png", "dog/2.png", ".ipynb_checkpoints/1.png", "__MACOSX/cat/1.png"):
        save(tmp_path / name)
    (tmp_path / "cat" / "._1.png").write_bytes(b"resource fork")
    (tmp_path / ".DS_Store").write_bytes(b"")
    images = load_images(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 1]
    save(tmp_path / "cat" / ".ipynb_checkpoints" / "1.png")
    assert len(load_images(tmp_path / "cat").images) == 1
    assert not [str(warning.message) for warning in recwarn if "left out" in str(warning.message)]


def test_jpegs(tmp_path):
    """Beside PNGs, upright as their cameras say; as near as they are packed."""
    image = np.repeat(np.arange(0, 64, dtype=np.uint8)[:, None], 64, axis=1)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(image).save(tmp_path / "2.JPG", quality=95)
    Image.fromarray(image).save(tmp_path / "3.jpeg", quality=95, exif=turned)
    save(tmp_path / "10.png", image)
    pictures = load_images(tmp_path).images[..., 0] * 127.5 + 127.5
    np.testing.assert_allclose(pictures[0], image, atol=3)
    np.testing.assert_allclose(pictures[1], np.rot90(image, -1), atol=3)
    np.testing.assert_array_equal(pictures[2].round(), image)


def test_what_is_left_out_is_named(tmp_path):
    for name in ("cat/1.png", "dog/2.png"):
        save(tmp_path / name)
    for name in ("labels.csv", "cat/notes.txt"):
        (tmp_path / name).write_text("")
    with pytest.warns(UserWarning, match="left out of") as caught:
        assert len(load_images(tmp_path).images) == 2
    messages = sorted(str(warning.message) for warning in caught)
    assert messages == [
        f"left out of {tmp_path}/cat: notes.txt",
        f"left out of {tmp_path}: labels.csv",
    ]


MIXTURES = {
    "a picture beside class folders": (
        ["a.png", "cat/1.png", "dog/2.png"],
        r"folder .* must hold pictures \(PNG, JPEG\) and no folders, got a.png beside cat, dog",
    ),
    "train and test": (
        ["train/cat/1.png", "test/cat/1.png"],
        r"must hold a folder for each class, got test, train: load one part by itself, .*/test say",
    ),
    "flat train, test and more": (
        ["train/1.png", "Test/1.png", "extra/1.png"],
        r"for each class, got Test, extra, train: load one part by itself, .*/Test say",
    ),
    "train alone": (["train/1.png"], r"a folder for each class, got train: load one part by"),
    "folders in a class": (["cat/1.png", "dog/big/1.png"], r"/dog must hold pictures .*, got big"),
    "another format": (["1.png", "2.gif"], r"must hold pictures in the formats PNG and JPEG, got"),
    "another format in a class": (["cat/1.png", "dog/1.tif"], r"/dog must hold .*, got 1.tif"),
    "another shape": (["cat/1.png", "dog/big.png"], r"big.png must have the shape of 1.png"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), MIXTURES.values(), ids=MIXTURES)
def test_mixtures_are_refused(tmp_path, files, message):
    for name in files:
        save(tmp_path / name, RAW[0].repeat(2, axis=0) if name.endswith("big.png") else RAW[0])
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path)


def test_a_class_without_pictures(tmp_path):
    save(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match=r"dog must hold pictures in the formats .*, got none"):
        load_images(tmp_path)


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_postscript_is_not_run(tmp_path, name, monkeypatch):
    """Pillow would hand it to Ghostscript, which writes files, or more."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\n(ran) print quit\n"
    (tmp_path / name).write_bytes(script)
    started = []
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *a, **k: started.append(a))
    message = rf"{re.escape(name)} \({len(script)} bytes\) is unreadable: it is not a PNG or JPEG"
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path)
    assert not started


def test_damage_is_named_with_the_size(tmp_path):
    save(tmp_path / "1.png", RAW[0].repeat(20, axis=0))
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[:-30])
    with pytest.raises(ValueError, match=rf"1\.png \({len(content) - 30} bytes\) is unreadable"):
        load_images(tmp_path)
    (tmp_path / "1.png").unlink()
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"1\.png .* is unreadable: it must be a regular file"):
        load_images(tmp_path)
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"1\.png is unreadable"):
        load_images(tmp_path)


def test_pictures_whose_names_hold_idx(tmp_path):
    for number in range(3):
        save(tmp_path / f"cat-idx00{number}.png", RAW[number])
    assert levels(load_images(tmp_path)) == [0, 20, 40]
