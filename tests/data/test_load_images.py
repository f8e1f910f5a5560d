"""Images from files of every format, scaled; damaged files are refused by name."""

import gzip
import shutil
import sys
import types

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kinetic_jax.data import _fashion_mnist, load_images
from kinetic_jax.data._fashion_mnist import holds_fashion_mnist
from kinetic_jax.networks import Scaling

RAW = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 1, 0, 2], np.uint8)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def expected(raw=RAW):
    return (raw[..., None].astype(np.float64) - 127.5) / 127.5


def test_digits():
    digits, bunch = load_images("digits"), load_digits()
    np.testing.assert_allclose(digits.images[..., 0], bunch.images / 8 - 1, atol=1e-6)
    np.testing.assert_array_equal(digits.labels, bunch.target)
    assert digits.held_out.shape == (0, 8, 8, 1)
    np.testing.assert_allclose(
        digits.scaling.invert(digits.images[..., 0]), bunch.images, atol=1e-5
    )


def test_the_images_that_ship():
    first = load_images("fashion-mnist-1024")
    assert first.images.shape == (1024, 28, 28, 1)
    assert first.scaling == Scaling(127.5, 127.5)
    assert (first.images.min(), first.images.max()) == (-1.0, 1.0)
    assert first.labels[:4].tolist() == [9, 0, 0, 3]  # ankle boot, two shirts, dress
    assert first.num_classes == 10
    assert first.classes[0] == "T-shirt/top"
    assert first.classes[9] == "Ankle boot"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_folder_of_idx(tmp_path, pack):
    end = ".gz" if pack is gzip.compress else ""
    parts = {"train-images-idx3": RAW[:4], "train-labels-idx1": LABELS[:4],
             "t10k-images-idx3": RAW[4:], "t10k-labels-idx1": LABELS[4:]}  # fmt: skip
    for name, part in parts.items():
        (tmp_path / f"{name}-ubyte{end}").write_bytes(pack(idx(part)))
    images = load_images(tmp_path)
    np.testing.assert_allclose(images.images, expected(RAW[:4]), atol=1e-6)
    np.testing.assert_allclose(images.held_out, expected(RAW[4:]), atol=1e-6)
    np.testing.assert_array_equal(images.labels, LABELS[:4])
    np.testing.assert_array_equal(images.held_out_labels, LABELS[4:])


@pytest.mark.parametrize(
    "names",
    [("images", "labels", "held_out"), ("train", "train_labels", "held_out"),
     ("x_train", "y_train", "x_test")],
    ids=lambda names: names[0],
)  # fmt: skip
def test_npz(tmp_path, names):
    arrays = dict(zip(names, (RAW[:4], LABELS[:4], RAW[4:]), strict=True))
    np.savez(tmp_path / "some.npz", **arrays)
    images = load_images(tmp_path / "some.npz")
    np.testing.assert_allclose(images.images, expected(RAW[:4]), atol=1e-6)
    np.testing.assert_allclose(images.held_out, expected(RAW[4:]), atol=1e-6)
    np.testing.assert_array_equal(images.labels, LABELS[:4])
    assert images.held_out_labels is None


def test_npz_of_one_array_and_npy(tmp_path):
    np.savez(tmp_path / "one.npz", whatever=RAW)
    np.save(tmp_path / "one.npy", RAW)
    for file in ("one.npz", "one.npy"):
        np.testing.assert_allclose(load_images(tmp_path / file).images, expected(), atol=1e-6)


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (RAW.astype(np.uint16) * 257, Scaling(32767.5, 32767.5)),
        ((RAW.astype(np.uint16) * 257).astype(">u2"), Scaling(32767.5, 32767.5)),
        (RAW / 255, Scaling(0.5, 0.5)),
        (RAW / 127.5 - 1, Scaling(0.0, 1.0)),
    ],
    ids=["16 bits", "the other byte order", "floats in [0, 1]", "floats in [-1, 1]"],
)
def test_scalings(tmp_path, raw, want):
    np.save(tmp_path / "raw.npy", raw)
    images = load_images(tmp_path / "raw.npy")
    assert images.scaling == want
    np.testing.assert_allclose(images.images, expected(), atol=1e-6)


@pytest.mark.parametrize("shift", [-4.6e-7, 0.0, 4.6e-7])
def test_pixels_beyond_their_range_by_rounding(tmp_path, shift):
    raw = np.array([[[0.0, 1.0]], [[0.3, 0.6]]])
    np.savez(tmp_path / "raw.npz", images=raw + shift, held_out=raw - shift)
    images = load_images(tmp_path / "raw.npz")
    assert images.scaling == Scaling(0.5, 0.5)
    for part in (images.images, images.held_out):
        assert part.min() >= -1
        assert part.max() <= 1
        np.testing.assert_allclose(part[..., 0], 2 * raw - 1, atol=1e-6)
    assert images.images.min() == -1 or shift > 0


def test_labels_in_a_column(tmp_path):
    """As Keras has those of CIFAR; other shapes are refused."""
    np.savez(tmp_path / "a.npz", x_train=RAW, y_train=LABELS[:, None], x_test=RAW[:2],
             y_test=LABELS[:2, None])  # fmt: skip
    images = load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(images.labels, LABELS)
    np.testing.assert_array_equal(images.held_out_labels, LABELS[:2])
    for wrong in (LABELS[None], np.eye(3, dtype=np.uint8)[LABELS], LABELS[:, None, None]):
        np.savez(tmp_path / "a.npz", images=RAW, labels=wrong)
        with pytest.raises(ValueError, match=r"one whole number >= 0 for each of 6 images"):
            load_images(tmp_path / "a.npz")


def test_arrays_that_are_left_out_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", images=RAW, label=LABELS)
    with pytest.warns(UserWarning, match=r"left out of .*a\.npz: label$"):
        load_images(tmp_path / "a.npz")


def test_labels_beyond_32_bits(tmp_path):
    np.savez(tmp_path / "a.npz", images=RAW[:2], labels=np.array([2**40, 5], np.uint64))
    images = load_images(tmp_path / "a.npz")
    assert images.labels.tolist() == [1, 0]
    assert images.classes == ("5", str(2**40))


BAD = {
    "range": ({"images": RAW * 1.0}, r"floating images of .*bad.npz must lie in \[−1, 1\], got"),
    "axes": ({"images": RAW[0]}, r"must have the shape \(n, height, width\)"),
    "labels": ({"images": RAW, "labels": LABELS[:2]}, r"one whole number >= 0 for each of 6"),
    "held out": ({"images": RAW, "held_out": RAW[:, :2]}, r"must be of the shape of the others"),
    "not finite": ({"images": np.full((2, 3, 3), np.nan)}, r"must lie in \[−1, 1\], got nan"),
    "wide whole numbers": ({"images": RAW.astype(int)}, r"must be uint8, uint16 or floating, got"),
    "another dtype": ({"images": RAW, "held_out": RAW / 255}, r"must be of the others' dtype"),
    "beyond": ({"images": RAW / 255, "held_out": RAW * 1.0}, r"lie in the range of the images"),
    "other labels": (
        {"images": RAW, "labels": LABELS, "held_out": RAW, "held_out_labels": LABELS + 1},
        r"labels of .*, held out, must be among those to train on",
    ),
    "no pixels": ({"images": np.zeros((2, 0, 3))}, r"must hold images, got shape \(2, 0, 3\)"),
    "negative labels": ({"images": RAW, "labels": LABELS.astype(int) - 1}, r", the smallest -1$"),
    "none": ({"images": RAW[:0]}, r"must hold images, got shape \(0, 4, 3\)"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "message"), BAD.values(), ids=BAD)
def test_errors(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path / "bad.npz")


def test_labels_are_numbered_without_gaps(tmp_path):
    some = {
        "images": RAW,
        "labels": 5 * LABELS + 1,
        "held_out": RAW,
        "held_out_labels": LABELS * 0 + 6,
    }
    np.savez(tmp_path / "some.npz", **some)
    images = load_images(tmp_path / "some.npz")
    np.testing.assert_array_equal(images.labels, LABELS)
    np.testing.assert_array_equal(images.held_out_labels, np.ones(6))
    assert images.num_classes == 3
    assert images.classes == ("1", "6", "11")


def test_a_file_and_its_gzip_are_one(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(RAW))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(RAW)))
    np.testing.assert_allclose(load_images(tmp_path).images, expected(), atol=1e-6)


def test_fashion_mnist_among_files_of_the_same_names(small_set):
    assert holds_fashion_mnist(small_set)
    assert holds_fashion_mnist(small_set.parent)
    for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        (small_set / f"{name}.gz").write_bytes(gzip.compress(idx(LABELS[::-1])))
    assert not holds_fashion_mnist(small_set)
    assert not holds_fashion_mnist(small_set / "nowhere")


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"known set .*nowhere \(known: digits, fashion-mn"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"must hold idx files, pictures \(PNG, JPEG\), or a fol"):
        load_images(tmp_path)
    (tmp_path / "labels-idx1").write_bytes(idx(LABELS))
    with pytest.raises(ValueError, match=r"must hold idx images to train on"):
        load_images(tmp_path)


@pytest.fixture
def small_set(tmp_path, monkeypatch):
    """A set of the form of Fashion-MNIST, known by its own checksums."""
    folder = tmp_path / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    sums = {}
    for name in _fashion_mnist.FILES:
        content = idx(RAW if "images" in name else LABELS)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        sums[name] = _fashion_mnist.hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(_fashion_mnist, "SHA256", sums)
    monkeypatch.setattr(_fashion_mnist, "DEBIAN", tmp_path / "debian")
    monkeypatch.delenv("KINETIC_JAX_DATA", raising=False)
    return folder


def test_where_fashion_mnist_is_found(small_set, tmp_path, monkeypatch):
    want = expected()
    for given in (small_set, small_set.parent):  # the folder itself, or the one it is in
        np.testing.assert_allclose(load_images("fashion-mnist", data=given).images, want, atol=1e-6)
    monkeypatch.setenv("KINETIC_JAX_DATA", str(small_set.parent))
    np.testing.assert_allclose(load_images("fashion-mnist").held_out, want, atol=1e-6)
    monkeypatch.setenv("KINETIC_JAX_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(
        FileNotFoundError, match=r"\$KINETIC_JAX_DATA must be a folder with the files"
    ):
        load_images("fashion-mnist")
    monkeypatch.delenv("KINETIC_JAX_DATA")
    shutil.copytree(small_set, tmp_path / "debian")
    np.testing.assert_array_equal(load_images("fashion-mnist").labels, LABELS)


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_file_is_refused_by_name(small_set, damage):
    file = small_set / "t10k-images-idx3-ubyte.gz"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-20])
    elif damage == "flipped":
        file.write_bytes(content[:30] + bytes([content[30] ^ 1]) + content[31:])
    else:
        file.write_bytes(gzip.compress(idx(RAW[::-1])))
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz"):
        load_images("fashion-mnist", data=small_set)


def test_download(small_set, tmp_path, monkeypatch):
    """With the address stood in for by a folder: what is fetched, where it goes, the bar driven."""
    asked = []

    def retrieve(url, *, known_hash, fname, path, progressbar):
        asked.append(url)
        path.mkdir(parents=True, exist_ok=True)
        shutil.copy(small_set / fname, path / fname)
        progressbar.total = 2
        progressbar.update(1)
        progressbar.update(1)
        progressbar.reset()
        progressbar.update(2)
        progressbar.close()
        return str(path / fname)

    pooch = types.SimpleNamespace(
        retrieve=retrieve, os_cache=lambda name: tmp_path / "cache" / name
    )
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    np.testing.assert_allclose(load_images("fashion-mnist").images, expected(), atol=1e-6)
    assert asked == [f"{_fashion_mnist.ADDRESS}{name}.gz" for name in _fashion_mnist.FILES]
    assert (tmp_path / "cache/kinetic_jax/fashion-mnist/train-labels-idx1-ubyte.gz").exists()

    def fail(*_, **__):
        raise OSError("no route")

    pooch.retrieve = fail
    with pytest.raises(
        ConnectionError, match=r"could not be downloaded from http://fashion.*no route"
    ):
        load_images("fashion-mnist")
