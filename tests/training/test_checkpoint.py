"""Fields on disk: what comes back, and what is refused."""

import functools
import json
import resource
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kinetic_jax import GaussianField, fit, from_nnx, kts, load_field, save_field
from kinetic_jax.networks import NetworkField, Scaling, network_field
from kinetic_jax.training._storage import latest_step, read_about

UNET = {
    "base_channels": 8, "multiples": (1,), "attention": (False,), "num_res_blocks": 1,
    "time_bins": 10,
}  # fmt: skip


@functools.cache
def random_field(network="mlp", shape=(2,), *, seed=0, **settings):
    key = jax.random.key(0)
    settings = ({"width": 8, "depth": 1} if network == "mlp" else UNET) | settings
    field = eqx.filter_eval_shape(lambda: network_field(network, shape, key=key, **settings))
    rng = np.random.default_rng(seed)

    def draw(leaf):
        return jax.device_put(rng.normal(size=leaf.shape).astype(leaf.dtype))

    return jax.tree.map(draw, field)


FIELDS = {
    "mlp": lambda: random_field(),
    "everything": lambda: random_field(
        shape=(2, 3), num_classes=4, scaling=Scaling(127.5, 63.75), dtype=jnp.bfloat16
    ),
    "unet": lambda: random_field("unet", (4, 4, 1), num_classes=3, scaling=Scaling(0.1, 0.3)),
}  # fmt: skip


def same(first, second):
    if first.spec != second.spec or jax.tree.structure(first) != jax.tree.structure(second):
        return False
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("build", FIELDS.values(), ids=FIELDS)
def test_round_trip(build, tmp_path):
    field = build()
    folder = tmp_path / "new" / "a [folder]*"  # which Orbax takes for a pattern
    save_field(folder, field)
    loaded = load_field(str(folder))
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


class Derived(NetworkField):
    def __call__(self, t, x, cond=None):
        return 2 * super().__call__(t, x, cond)


def other_network(velocity):
    return eqx.tree_at(lambda field: field.velocity, random_field(), velocity)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: GaussianField(jnp.zeros(2), 1.0), "GaussianField"),
        (lambda: kts(0.01, 0.01)(random_field()), "field must be made by network_field"),
        (lambda: lambda t, x, cond=None: x, "function"),
        (lambda: Derived(random_field().velocity, random_field().spec), "Derived"),
        (lambda: other_network(lambda t, x, c: 2 * x), "NetworkField: only .* with its own"),
        (lambda: other_network(from_nnx(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))), "NetworkField: only"),
    ],
    ids=["gaussian", "transformed", "function", "derived", "replaced", "another model"],
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


SGD = optax.sgd(1e-3)  # one object: another one compiles again


def run(folder, num_steps=2):
    return fit(
        random_field(), np.ones((4, 2), np.float32), key=jax.random.key(0), num_steps=num_steps,
        batch_size=2, optimizer=SGD, checkpoint_dir=folder, checkpoint_every=1,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["field", "run"])
def written(request, tmp_path_factory):
    """A folder that was written to twice, and what writes to it once more."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "run":
        run(folder)
        return folder, lambda copy: run(copy, 5)
    for _ in range(2):
        save_field(folder, random_field())
    return folder, lambda copy: save_field(copy, random_field())


@pytest.mark.parametrize("name", ["3.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp-17", "0"])
def test_folders_of_other_programs_are_left_alone(name, written, tmp_path):
    """Orbax would remove them: as unfinished, or as older than those to keep."""
    folder, write = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / name, ignore_errors=True)
    (tmp_path / name / "field").mkdir(parents=True)
    diary = tmp_path / name / "field" / "diary.txt"
    diary.write_text("dear")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"{tmp_path} must hold no check.* other programs.*{name}"):
        write(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert diary.read_text() == "dear"


def test_what_a_killed_save_left_is_cleared_away(tmp_path):
    save_field(tmp_path, random_field())
    (tmp_path / ".kinetic_jax-saving").write_text("1")
    (tmp_path / "1.orbax-checkpoint-tmp" / "field.orbax-checkpoint-tmp").mkdir(parents=True)
    save_field(tmp_path, random_field(seed=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]


# TensorStore drops the errors of the writes that it had begun beside the one it reports.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_names_the_checkpoint(tmp_path):
    """The earlier field stays; the next save clears away half-written files."""
    field, limits = random_field(), resource.getrlimit(resource.RLIMIT_FSIZE)
    save_field(tmp_path / "saved", field)
    run(tmp_path / "run", 1)
    for write, path in (
        (lambda: save_field(tmp_path / "saved", random_field(seed=1)), "saved/1"),
        (lambda: run(tmp_path / "run", 2), "run/2"),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
        try:
            with pytest.raises(OSError, match=f"checkpoint {tmp_path}/{path} cannot be written"):
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(load_field(tmp_path / "saved"), field)
    save_field(tmp_path / "saved", field)
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["1"]
    run(tmp_path / "run", 2)


def test_weights_that_were_cast(tmp_path):
    """Half precision is kept as it was trained."""
    field = jax.tree.map(
        lambda leaf: jax.device_put(np.asarray(leaf).astype(jnp.bfloat16)), random_field()
    )
    save_field(tmp_path, field)
    assert same(load_field(tmp_path), field)
