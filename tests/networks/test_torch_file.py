"""Files of PyTorch: what is read, and that no code in them is run."""

import copy
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax._torch_file import read_torch_file

FILES = Path(__file__).with_name("authors_unet")
NUMBERS = np.arange(24, dtype=np.float32)


def refused(file, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_torch_file(file)
    assert str(file) in str(caught.value)


class Command:
    """Runs a command of the shell when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_file_with_a_command_is_refused_and_nothing_runs(torch_file, tmp_path):
    marker = tmp_path / "ran"
    hidden = pickle.dumps(OrderedDict(weight=[1.0, {"inside": Command(marker)}]), protocol=2)
    pickle.loads(hidden)
    assert marker.exists()  # so it is a command
    marker.unlink()
    refused(torch_file(hidden), r"names (posix|nt)\.system, and only tensors")
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval", "builtins getattr", "__builtin__ getattr", "os system", "numpy load",
        "collections namedtuple", "collections OrderedDict.fromkeys", "torch load",
        "torch._utils _rebuild_tensor", "torch FloatStorage.from_file", "torch._utils os",
        "kinetic_jax._torch_file _FUNCTIONS", "functools partial",
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_all_other_names_are_refused(name, protocol, torch_file):
    module, attribute = name.split(" ")
    if protocol == 2:
        content = b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"."
    else:
        texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in name.split(" "))
        content = b"\x80\x04" + texts + b"\x93."
    refused(torch_file(content), f"names {module}.{attribute}, and only tensors")


def test_no_file_changes_how_the_next_is_read(torch_file):
    """A pickle may set attributes of what it makes, were they not refused."""
    name, state = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n",
        b"}X\x09\x00\x00\x00_functionK\x01s",
    )
    refused(torch_file(name + state + b"b."), "sets the state of a Named")
    refused(torch_file(name + b"N" + state + b"\x86b0}."), "sets the state of a Named")
    np.testing.assert_array_equal(read_torch_file(torch_file(NUMBERS)), NUMBERS)


def test_what_pytorch_wrote(torch_file):
    state = read_torch_file(FILES / "Model_0")
    assert isinstance(state, OrderedDict)
    assert state["init_conv.weight"].dtype == np.float16
    assert state["init_conv.bias"].dtype == np.float32
    # The sinusoids, whose numbers are known.
    table = state["time_embeddings.time_mlp.0.weight"]
    frequencies = 1e4 ** (-np.arange(4) / 3)
    angles = np.arange(1000)[:, None] * frequencies
    np.testing.assert_allclose(
        table, np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=2e-4
    )
    checkpoint = read_torch_file(FILES / "training.pt")
    assert (checkpoint["epoch"], checkpoint["loss"]) == (3, 0.25)
    assert isinstance(checkpoint["model_state_dict"], OrderedDict)
    assert checkpoint["optimizer_state_dict"]["param_groups"][0]["lr"] == 0.1


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?"])
def test_dtypes(dtype, torch_file):
    array = np.arange(6).astype(dtype).reshape(2, 3)
    loaded = read_torch_file(torch_file({"a": array, "b": [array.T, 3, "text", None]}))
    assert loaded["a"].dtype == array.dtype
    np.testing.assert_array_equal(loaded["a"], array)
    assert loaded["b"][1:] == [3, "text", None]
    assert not loaded["a"].flags.writeable


def test_bfloat16(torch_file):
    halves = NUMBERS.astype(jnp.bfloat16)
    storage = torch_file.Storage(halves, halves.size, "BFloat16Storage")
    loaded = read_torch_file(torch_file(torch_file.Tensor(storage, 0, (24,), (1,))))
    assert loaded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(loaded.astype(np.float32), NUMBERS)


def test_views(torch_file):
    storage = torch_file.storage_of(NUMBERS)
    tensor = torch_file.Tensor(storage, 2, (3, 4), (1, 5))
    expected = 2 + np.arange(3)[:, None] + 5 * np.arange(4)
    np.testing.assert_array_equal(read_torch_file(torch_file(tensor)), expected)
    scalar, empty = (
        torch_file.Tensor(storage, 23, (), ()),
        torch_file.Tensor(storage, 24, (0, 7), (7, 1)),
    )
    loaded = read_torch_file(torch_file([scalar, empty]))
    assert (loaded[0].shape, float(loaded[0]), loaded[1].shape) == ((), 23.0, (0, 7))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (25,), (1,)), (1, (24,), (1,)), (0, (2,), (24,)), (-1, (2,), (1,)), (3, (2,), (-1,)),
        (0, (2, 2), (1,)), (24, (), ()), (0, (10**12, 10**12), (1, 1)), (0.5, (2,), (1,)),
        (0, (25,), (0,)), (0, (5, 5), (4, 1)), (0, (2**64,), (0,)), (0, (1,) * 65, (1,) * 65),
    ],
)  # fmt: skip
def test_no_tensor_reaches_beyond_its_storage(offset, shape, strides, torch_file):
    tensor = torch_file.Tensor(torch_file.storage_of(NUMBERS), offset, shape, strides)
    refused(torch_file(tensor), "unreadable: a tensor must")


def test_no_tensor_is_the_storage_of_another(torch_file):
    """A view of stride 0 would seem to own far more memory than there is."""
    inner = torch_file.Tensor(torch_file.storage_of(NUMBERS[:4]), 0, (4,), (1,))
    refused(torch_file(torch_file.Tensor(inner, 0, (4,), (1,))), "have a storage, got ndarray")
    text = torch_file.Tensor("text", 0, (4,), (1,))
    refused(torch_file(text), "a tensor must have a storage, got str")


def test_a_pickle_changes_no_storage(torch_file):
    kind = b"X\x07\x00\x00\x00storagectorch\nByteStorage\n"
    storage = b"(" + kind + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x00tQ"
    state = b"N}X\x06\x00\x00\x00vectorK\x01s\x86b."
    file = torch_file(b"\x80\x02" + storage + state)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("checkpoint/data/0", b"")
    refused(file, "sets the state of a Storage")


@pytest.mark.parametrize("put", [b"r\x00\xc2\xeb\x0b", b"p200000000\n"])
def test_memory_is_bounded_by_the_file_memos(put, torch_file):
    """A memo of 2e8 would take 3.2 GB."""
    content = b"\x80\x02]" + put + b"."
    refused(
        torch_file(content), rf"memo of data.pkl must lie in \[0, {len(content)}\], .*200000000"
    )


def test_memory_is_bounded_by_the_file_members(torch_file):
    """Members that share their bytes, and names that stand for two members."""
    file = torch_file(np.zeros(5000, np.uint8))
    with zipfile.ZipFile(file) as archive:
        first = archive.getinfo("checkpoint/data/0")
    with zipfile.ZipFile(file, "a") as archive:
        for number in range(4):
            again = copy.copy(first)
            again.filename = f"checkpoint/data/{number + 1}"
            archive.filelist.append(again)
        archive._didModify = True
    refused(file, "its members must fit in the file side by side, got 25,")
    file = torch_file(NUMBERS)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("checkpoint/data/0", b"", zipfile.ZIP_DEFLATED)
    refused(file, "must have a name for each member, got 1 duplicates")


def test_what_is_no_storage_or_shape_is_named_by_its_type(torch_file):
    """The text of nested tuples may be far longer than the file."""
    nested = ()
    for _ in range(5):
        nested = (nested, nested)
    float_storage = torch_file.Name("torch", "FloatStorage")
    for pid in (
        nested,
        ("storage", nested, "0", "cpu", 24),
        ("storage", float_storage, "0", "cpu", nested),
    ):
        refused(torch_file(torch_file.Pid(pid)), "a storage must have a dtype, a name and a size")
    tensor = torch_file.Tensor(torch_file.storage_of(NUMBERS), 0, (nested,), (1,))
    refused(torch_file(tensor), "a tensor must have whole offset, shape and strides, got others")


@pytest.mark.parametrize(
    "twice",
    [
        b"0h\x00h\x00\x86q\x00", b"2\x86", b"0(h\x00h\x00tr\x00\x00\x00\x00",
        b"0h\x00h\x00\x86Nbq\x00", b"0h\x00h\x00\x86(eq\x00", b"0h\x00h\x00\x86(uq\x00",
    ],
)  # fmt: skip
def test_time_is_bounded_by_the_file(twice, torch_file):
    """A key with 2^40 parts would be hashed for hours."""
    key = b")q\x00" + twice * 40
    refused(torch_file(b"\x80\x02}" + key + b"K\x01s."), "tuple of data.pkl must have at most")
    few = b")q\x00" + twice * 3
    assert len(read_torch_file(torch_file(b"\x80\x02}" + few + b"K\x01s."))) == 1


def test_parameters_are_tensors(torch_file):
    content = b"\x80\x02ctorch._utils\n_rebuild_parameter\n)\x85R."
    refused(torch_file(content), "a parameter must be a tensor, got tuple")


def test_what_is_shared_is_read(torch_file):
    shared = (NUMBERS, [1, 2], (3, "text"), {"a": 1.5})
    tree = {"net": [shared] * 50, "ema": {(0.9, 0.999): shared}}
    loaded = read_torch_file(torch_file(tree))
    assert loaded["net"][49][1:] == loaded["ema"][0.9, 0.999][1:] == shared[1:]


def test_dictionaries_have_no_state_but_the_metadata_of_pytorch(torch_file):
    name = b"\x80\x02ccollections\nOrderedDict\n)R"
    metadata = b"}X\x09\x00\x00\x00_metadataK\x01sb."
    read = read_torch_file(torch_file(name + metadata))
    assert (read, vars(read)) == ({}, {})
    items = b"}X\x05\x00\x00\x00itemsK\x01sb."
    refused(torch_file(name + items), "a dictionary must have no state but _metadata")


def test_damaged_files(torch_file, tmp_path):
    tensor = torch_file.Tensor(torch_file.Storage(NUMBERS, 25, "FloatStorage"), 0, (24,), (1,))
    refused(torch_file(tensor), "storage 0 must hold 25 numbers, got 24")
    unknown = torch_file.Tensor(torch_file.Storage(NUMBERS, 24, "QUInt8Storage"), 0, (24,), (1,))
    refused(torch_file(unknown), "names torch.QUInt8Storage")
    refused(torch_file(NUMBERS, byteorder=b"big"), "its numbers must be little endian, got b'big'")
    refused(torch_file(NUMBERS, zipfile.ZIP_DEFLATED), "must be stored uncompressed")
    file = torch_file(NUMBERS)
    file.write_bytes(file.read_bytes()[:-30])
    refused(file, "must be the zip file that torch.save writes since PyTorch 1.6")
    refused(FILES / "old.pt", "must be the zip file that torch.save writes since PyTorch 1.6")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "text")
    refused(tmp_path / "other.zip", "the file must hold one data.pkl, got 0 of them")
    refused(tmp_path, "is unreadable")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_torch_file(tmp_path / "none.pt")
