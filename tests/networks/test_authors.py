"""Checkpoints of the KTS authors' code against the outputs of PyTorch (`authors_unet/make.py`)."""

from pathlib import Path

import jax
import numpy as np
import pytest

from kinetic_jax import kts, load_field, sample, save_field
from kinetic_jax._cli._sample import find_field
from kinetic_jax._torch_file import read_torch_file
from kinetic_jax.networks import AUTHORS_UNET, Scaling, load_authors_checkpoint

pytestmark = pytest.mark.long

FILES = Path(__file__).with_name("authors_unet")
OUTPUTS = np.load(FILES / "outputs.npz")
# Whatever is in a bin: their samplers evaluate bin int(999 t).
TIMES = np.array([0.0, 0.0015, 0.3335, 0.641, 1.0], np.float32)

mapped = jax.jit(lambda field, t, x: jax.vmap(field)(t, x))


@pytest.fixture(scope="module")
def field():
    return load_authors_checkpoint(FILES / "Model_0", scaling=Scaling(0.4, 1.0))


@pytest.fixture(scope="module")
def small():
    """The state dict of the small network, without prefixes."""
    state = read_torch_file(FILES / "training.pt")["model_state_dict"]
    return {name.removeprefix("module."): array for name, array in state.items()}


def test_outputs_are_those_of_pytorch(field):
    assert [int(999 * t) for t in TIMES] == OUTPUTS["time_bins"].tolist()
    expected = OUTPUTS["velocity"]
    assert np.abs(expected).max() > 1
    # GELU by tanh would be 1e-4 off, a neighbouring bin 1e-2.
    np.testing.assert_allclose(mapped(field, TIMES, OUTPUTS["x"]), expected, rtol=0, atol=3e-5)
    neighbours = mapped(field, (TIMES + 0.002) % 1, OUTPUTS["x"])
    assert np.abs(neighbours - expected).max(axis=(1, 2, 3)).min() > 1e-2


def test_the_field(field):
    assert (field.event_shape, field.scaling) == ((32, 32, 1), Scaling(0.4, 1.0))
    config = {name: field.spec.config[name] for name in AUTHORS_UNET}
    assert config == AUTHORS_UNET | {"base_channels": 8}


def test_a_checkpoint_of_a_training_loop():
    """Of several devices ("module."), with other entries, colours and a single level."""
    field = load_authors_checkpoint(FILES / "training.pt", sides=(8, 8))
    assert field.event_shape == (8, 8, 3)
    assert field.spec.config["multiples"] == (2,)
    got = mapped(field, TIMES, OUTPUTS["small_x"])
    np.testing.assert_allclose(got, OUTPUTS["small_velocity"], rtol=0, atol=3e-5)


def test_the_authors_loop_ends_where_sample_does():
    """Euler under KTS, each step in the bin int(999 t)."""
    field = load_authors_checkpoint(FILES / "training.pt", sides=(8, 8))
    run = sample(kts(alpha0=0.05, beta0=0.02)(field), OUTPUTS["small_x"], num_steps=20)
    assert np.abs(OUTPUTS["small_end"] - OUTPUTS["small_x"]).max() > 1
    np.testing.assert_allclose(run.x1, OUTPUTS["small_end"], rtol=0, atol=5e-5)


def leaves(field):
    return {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(field)
    }


def same_leaves(field, other):
    first, second = leaves(field), leaves(other)
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def test_saved_and_loaded(field, tmp_path):
    save_field(tmp_path / "field", field)
    loaded = load_field(tmp_path / "field")
    assert loaded.spec == field.spec
    assert same_leaves(loaded, field)


def test_on_the_command_line(field, tmp_path):
    loaded = find_field(str(FILES / "Model_0"))
    assert loaded.spec.config == field.spec.config
    assert same_leaves(loaded, field)
    with pytest.raises(ValueError, match="a checkpoint of the KTS authors' code, or the name of"):
        find_field(str(tmp_path / "none"))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes(prefix, small, torch_file):
    state = {prefix + name: array for name, array in small.items()}
    file = torch_file(state | {"n_averaged": np.array([7])})
    expected = load_authors_checkpoint(FILES / "training.pt")
    assert same_leaves(load_authors_checkpoint(file), expected)


def test_one_of_several_state_dicts(small, torch_file):
    average = {
        name: array + (np.float32(1) if array.ndim == 1 else 0) for name, array in small.items()
    }
    file = torch_file({"net": small, "ema": average, "step": 3})
    with pytest.raises(ValueError, match=r"entry must be one of the state dicts: \['net', 'ema'\]"):
        load_authors_checkpoint(file)
    plain, averaged = (load_authors_checkpoint(file, entry=name) for name in ("net", "ema"))
    first, second = leaves(plain), leaves(averaged)
    for name, leaf in first.items():
        np.testing.assert_array_equal(second[name], leaf + (1 if leaf.ndim == 1 else 0))
    with pytest.raises(
        ValueError, match=r"entry must be one of the keys in .*'net', 'ema', 'step'"
    ):
        load_authors_checkpoint(file, entry="model")
    with pytest.raises(ValueError, match=r"entry 'step' of .* must hold a state dict"):
        load_authors_checkpoint(file, entry="step")


def changed(state, **arrays):
    """The state dict with other arrays; None takes one out."""
    return {name: array for name, array in (state | arrays).items() if array is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"final_block.conv.bias": None, "encoder_blocks.0.dense.bias": None},
            "must have 91 tensors, got none of encoder_blocks.0.dense.bias, final_block.conv.bias$",
        ),
        (
            {"label_emb.weight": np.zeros((2, 2), np.float32)},
            "must hold only tensors of the authors' U-Net, got label_emb.weight$",
        ),
        (
            {"decoder_blocks.1.block2.conv.weight": np.zeros((8, 8, 1, 1), np.float32)},
            r"^decoder_blocks.1.block2.conv.weight in .* must have shape \(16, 16, 3, 3\), got "
            r"shape \(8, 8, 1, 1\)$",
        ),
        (
            {"encoder_blocks.0.dense.weight": np.zeros((8, 16), np.float32)},
            r"^encoder_blocks.0.dense.weight in .* must have shape \(16, 32\), got .*\(8, 16\)$",
        ),
        (
            {"time_embeddings.time_mlp.0.weight": np.zeros((1000, 8), np.float32)},
            "must hold sines and cosines, got 1 off",
        ),
        ({"time_embeddings.time_mlp.0.weight": None}, "must have the key time_embeddings"),
        ({"encoder_blocks.0.block1.conv.weight": None}, "must have blocks encoder_blocks.0, 1"),
        ({"init_conv.weight": np.zeros(8, np.float32)}, "init_conv.weight in .* must have 4 axes"),
        ({"init_conv.weight": np.zeros((12, 3, 3, 3), np.float32)}, "multiple of groups, 8"),
        ({"init_conv.weight": None}, "must hold a state dict of the KTS authors' U-Net, with"),
        ({"init_conv.bias": 1.5}, "must hold tensors alone, got init_conv.bias$"),
        (
            {"init_conv.bias": np.array([0, 0, np.nan, *[0] * 5], np.float32)},
            r"^init_conv.bias in .* must be finite, got nan \(at \(2,\)",
        ),
        ({"init_conv.bias": np.full(8, 1e300)}, "^init_conv.bias in .* must be finite, got inf"),
        (
            {"init_conv.bias": np.zeros(8, np.int64)},
            "^init_conv.bias in .* must hold floating-point numbers, got int64",
        ),
        (
            {"time_embeddings.time_mlp.0.weight": np.full((1000, 8), np.nan)},
            "^time_embeddings.time_mlp.0.weight in .* must be finite, got nan",
        ),
        (
            {"time_embeddings.time_mlp.0.weight": np.zeros((10**5 + 1, 8), np.float16)},
            r"must be \(time bins, at most 100,000, and even channels\), got \(100001, 8\)",
        ),
        (
            {"module.init_conv.bias": np.zeros(8, np.float32)},
            "must hold init_conv.bias once, got init_conv.bias and module.init_conv.bias$",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, message, small, torch_file):
    file = torch_file(changed(small, **change))
    with pytest.raises(ValueError, match=message):
        load_authors_checkpoint(file)


def test_other_content(small, torch_file):
    with pytest.raises(ValueError, match=r"must hold a state dict of .*got list$"):
        load_authors_checkpoint(torch_file([small]))
    with pytest.raises(ValueError, match=r"must have names as keys, got keys of type int$"):
        load_authors_checkpoint(torch_file(small | {0: small["init_conv.bias"]}))
    many = {f"layer{number}": 0 for number in range(9)}
    message = "got the keys layer0, layer1, layer2, layer3 and 5 more"
    with pytest.raises(ValueError, match=message):
        load_authors_checkpoint(torch_file(many))


@pytest.mark.usefixtures("own_messages")
def test_arguments(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_authors_checkpoint(tmp_path / "Model_0")
    with pytest.raises(ValueError, match=r"sides must be \(height, width\), got \(32, 32, 1\)"):
        load_authors_checkpoint(FILES / "Model_0", sides=(32, 32, 1))
    with pytest.raises(ValueError, match=r"sides must be at most 4096 each, got \(8, 1000000\)"):
        load_authors_checkpoint(FILES / "training.pt", sides=(8, 10**6))
    with pytest.raises(ValueError, match="event_shape must have sides divisible by 4"):
        load_authors_checkpoint(FILES / "Model_0", sides=(30, 32))
    with pytest.raises(ValueError, match="scaling must be a Scaling or None, got 2"):
        load_authors_checkpoint(FILES / "Model_0", scaling=2)
