"""Fields on disk: what comes back, and what is refused."""

import json
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, kts, load_field, network_field, save_field
from kinetic_jax.networks import Scaling
from kinetic_jax.training._checkpoint import latest_step, read_about

UNET = {
    "base_channels": 8, "multiples": (1, 2), "attention": (False, True), "num_res_blocks": 1,
    "time_bins": 10,
}  # fmt: skip


def random_field(network="mlp", shape=(2,), *, seed=0, **settings):
    key = jax.random.key(0)
    settings = ({"width": 8, "depth": 1} if network == "mlp" else UNET) | settings
    field = eqx.filter_eval_shape(lambda: network_field(network, shape, key=key, **settings))
    rng = np.random.default_rng(seed)
    draw = lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    return jax.tree.map(draw, field)


FIELDS = {
    "mlp": lambda: random_field(),
    "everything": lambda: random_field(
        shape=(2, 3), num_classes=4, scaling=Scaling(127.5, 63.75), dtype="bfloat16"
    ),
    "unet": lambda: random_field("unet", (4, 4, 1), num_classes=3, scaling=Scaling(0.1, 0.3)),
    "dtype object": lambda: random_field(dtype=jnp.bfloat16),
}  # fmt: skip


def same(first, second):
    if first.spec != second.spec or jax.tree.structure(first) != jax.tree.structure(second):
        return False
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("build", FIELDS.values(), ids=FIELDS)
def test_round_trip(build, tmp_path):
    field = build()
    save_field(tmp_path / "new" / "folder", field)
    loaded = load_field(str(tmp_path / "new" / "folder"))
    assert same(loaded, field)
    assert loaded.event_shape == field.event_shape
    assert (loaded.num_classes, loaded.scaling) == (field.num_classes, field.scaling)


def test_a_loaded_field_is_compiled_with_the_saved_one(tmp_path):
    field, traces = random_field(num_classes=3), []
    save_field(tmp_path, field)

    @jax.jit
    def call(field, label):
        traces.append(1)
        return field(jnp.array(0.3), jnp.ones(2), label)

    label = jnp.array(1)
    np.testing.assert_array_equal(call(load_field(tmp_path), label), call(field, label))
    assert len(traces) == 1


def test_an_old_field_is_replaced_only_by_a_complete_one(tmp_path, monkeypatch):
    old, new = random_field(seed=0), random_field(seed=1, num_classes=2)
    save_field(tmp_path, old)
    with pytest.raises(ValueError, match="GaussianField"):
        save_field(tmp_path, GaussianField(jnp.zeros(2), 1.0))
    assert same(load_field(tmp_path), old)
    # A write that was cut off leaves a folder that is not yet named as a step.
    shutil.copytree(tmp_path / "0", tmp_path / "1.orbax-checkpoint-tmp")
    assert same(load_field(tmp_path), old)
    save_field(tmp_path, new)
    assert same(load_field(tmp_path), new)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["1"]


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: GaussianField(jnp.zeros(2), 1.0), "GaussianField"),
        (lambda: kts(0.01, 0.01)(random_field()), "field must be made by network_field"),
        (lambda: lambda t, x, cond=None: x, "function"),
    ],
    ids=["gaussian", "transformed", "function"],
)
def test_other_fields_are_refused(build, name, tmp_path):
    with pytest.raises(ValueError, match=name) as raised:
        save_field(tmp_path, build())
    assert "must be made by network_field" in str(raised.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("prepare", ["missing", "empty", "unfinished"])
def test_nothing_to_load(prepare, tmp_path):
    folder = tmp_path / "folder"
    if prepare != "missing":
        folder.mkdir()
    if prepare == "unfinished":
        (folder / "0.orbax-checkpoint-tmp").mkdir()
    assert latest_step(folder) is None
    with pytest.raises(FileNotFoundError, match=f"no complete checkpoint in {folder}"):
        load_field(folder)
    assert folder.exists() == (prepare != "missing")


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit": lambda content: (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 1])
        + content[len(content) // 2 + 1 :]
    ),
}


# TensorStore drops the errors of the reads that it had begun beside the one it reports.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damaged_file(damage, tmp_path):
    """Whichever file is cut or changed, the field is the right one or is refused by name."""
    field = random_field(scaling=Scaling(127.5, 63.75))
    folder = tmp_path / "field"
    save_field(folder, field)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) > 8
    refused = set()
    for path in files:
        content = path.read_bytes()
        path.write_bytes(damage(content))
        try:
            loaded = load_field(folder)
        except (ValueError, FileNotFoundError) as error:
            assert str(folder) in str(error), path  # noqa: PT017
            refused.add(path)
        else:
            assert same(loaded, field), path
        path.write_bytes(content)
    # Of the others some are copies, kept by one writing process, and timestamps.
    data = {*(folder / "0" / "field" / "d").iterdir(), folder / "0" / "about" / "metadata"}
    assert len(data) > 1
    assert data <= refused
    assert same(load_field(folder), field)


def test_every_byte_of_the_description(tmp_path):
    save_field(tmp_path, random_field(num_classes=3, scaling=Scaling(127.5, 63.75)))
    path = tmp_path / "0" / "about" / "metadata"
    content, about = path.read_bytes(), read_about(tmp_path, 0)
    for position in range(0, len(content), 11):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=f"checkpoint {tmp_path}/0 "):
            read_about(tmp_path, 0)
    path.write_bytes(content)
    assert read_about(tmp_path, 0) == about


def test_a_number_edited_in_the_description(tmp_path):
    # Valid JSON, weights that fit: only the data scaling would be wrong.
    save_field(tmp_path, random_field(scaling=Scaling(127.5, 63.75)))
    path = tmp_path / "0" / "about" / "metadata"
    about = json.loads(path.read_text())
    about["field"]["scaling"]["shift"] = 0.0
    path.write_text(json.dumps(about))
    with pytest.raises(ValueError, match=f"checkpoint {tmp_path}/0 is damaged"):
        load_field(tmp_path)


def test_weights_of_another_checkpoint(tmp_path):
    # Intact files that fit, in the wrong place: what is read is not what was written there.
    for number in (0, 1):
        save_field(tmp_path / str(number), random_field(seed=number))
    first, second = (tmp_path / str(number) / "0" / "field" for number in (0, 1))
    shutil.rmtree(first)
    shutil.copytree(second, first)
    with pytest.raises(ValueError, match=r"checkpoint .*0/0 is damaged.*: 'field' is not what was"):
        load_field(tmp_path / "0")


def test_another_format(tmp_path):
    save_field(tmp_path, random_field())
    path = tmp_path / "0" / "about" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ValueError, match=f"checkpoint {tmp_path}/0 must be of format 1, got 99"):
        load_field(tmp_path)
