"""Pytrees of arrays on disk: Orbax checkpoints that say what they hold."""

import dataclasses
import glob
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from kinetic_jax._digest import digest
from kinetic_jax._files import write_whole
from kinetic_jax._schema import from_description

# Orbax is imported when a checkpoint is written or read: it takes as long as JAX.

FORMAT = 1
UNFINISHED = ".orbax-checkpoint-tmp"  # a part of the names of Orbax's temporary folders
SAVING = ".kinetic_jax-saving"  # holds the step that is being written


@dataclasses.dataclass(frozen=True)
class About:
    """The description of a checkpoint.

    Attributes:
        format: `FORMAT`.
        digests: of each stored pytree's arrays.
        field: the field as `NetworkSpec.to_json` describes it; None for others.
        settings: those of the run; None for a field of `save_field`.
    """

    format: int
    digests: dict[str, Any]
    field: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None


@contextmanager
def _manager(directory: Path, *, write: bool = False, keep: int | None = None) -> Iterator[Any]:
    import orbax.checkpoint as ocp

    # A step is written beside its place and renamed or marked as complete at the end, so that
    # one cut off by a kill is never taken for a checkpoint.
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=write, enable_async_checkpointing=False
    )
    with (
        _without_patterns(directory.absolute()) as path,
        ocp.CheckpointManager(path, options=options) as manager,
    ):
        yield manager


@contextmanager
def _without_patterns(directory: Path) -> Iterator[Path]:
    """A path to a folder without [, * and ?: Orbax takes them for patterns, and loses arrays."""
    if glob.escape(str(directory)) == str(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "checkpoints"
        link.symlink_to(directory, target_is_directory=True)
        yield link


def latest_step(directory: Path) -> int | None:
    """The newest complete checkpoint in `directory`; None if there is none."""
    if not directory.is_dir():
        return None
    with _manager(directory) as manager:
        return manager.latest_step()


def make_folder(name: str, folder: Path) -> None:
    """Makes a folder for checkpoints, if it is not there.

    Raises:
        ValueError: naming the argument `name`, if it cannot be made, or holds checkpoints of other
            programs.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{name} must be a folder to write to, got {folder}: {error}") from error
    unfinished_saves(folder)


def write_checkpoint(
    directory: Path, step: int, about: dict[str, Any], trees: dict[str, PyTree[Any]], keep: int
) -> None:
    """Writes the arrays of `trees` and the description `about` as checkpoint `step`, atomically.

    Raises:
        ValueError: naming a folder that Orbax would take for a checkpoint and remove, but that no
            save of this package wrote.
        OSError: naming the checkpoint, if it cannot be written (the disk is full, say).
    """
    import orbax.checkpoint as ocp

    items: dict[str, Any] = {}
    digests = {}
    for name, tree in trees.items():
        leaves = [_plain(leaf) for leaf in jax.tree.leaves(tree)]
        digests[name] = digest(leaves)
        if leaves:  # plain gradient descent has no state, and Orbax writes no empty trees
            items[name] = ocp.args.StandardSave(dict(_numbered(leaves)))
    about = {"format": FORMAT, "digests": digests} | about
    items["about"] = ocp.args.JsonSave(about | {"self": _json_digest(about)})
    for left in unfinished_saves(directory):
        shutil.rmtree(left)
    write_whole(directory / SAVING, str(step).encode())
    try:
        with _manager(directory, write=True, keep=keep) as manager:
            manager.save(step, args=ocp.args.Composite(**items), force=True)
    except Exception as error:  # Orbax and TensorStore have no error for a full disk
        for left in unfinished_saves(directory):
            shutil.rmtree(left, ignore_errors=True)  # threads of Orbax may still be writing there
        raise OSError(f"checkpoint {directory / str(step)} cannot be written: {error}") from error
    (directory / SAVING).unlink()  # after a failure it tells the next save what to clear away


def unfinished_saves(directory: Path) -> list[Path]:
    """The folders that killed saves left in `directory`.

    Raises:
        ValueError: naming a folder that Orbax would take for a checkpoint or an unfinished one, but
            that no save of this package wrote.
    """
    if not directory.is_dir():
        return []
    saving = directory / SAVING
    own = f"{saving.read_text()}{UNFINISHED}" if saving.is_file() else None
    folders = [path for path in directory.iterdir() if path.is_dir()]
    left = [path for path in folders if UNFINISHED in path.name]
    for path in sorted(folders):
        is_own = own is not None and path.name.startswith(own)
        is_empty = path in left and not any(path.iterdir())
        if (path in left or path.name.isdigit()) and not (is_own or is_empty or _is_own(path)):
            raise ValueError(
                f"{directory} must hold no checkpoints of other programs, got {path.name}, which "
                "was not written by fit or save_field: move it away or choose another folder"
            )
    return left


def _is_own(checkpoint: Path) -> bool:
    """Whether a folder holds a description that this package wrote."""
    try:
        about = json.loads((checkpoint / "about" / "metadata").read_text())
        return about.pop("self") == _json_digest(about)
    except (OSError, ValueError, LookupError, AttributeError, RecursionError):
        return False


def read_about(directory: Path, step: int) -> About:
    """The description of checkpoint `step`.

    Raises:
        ValueError: naming the checkpoint, if it is damaged or of another format.
    """
    import orbax.checkpoint as ocp

    path = directory / str(step)
    with refusing(path), _manager(directory) as manager:
        args = ocp.args.Composite(about=ocp.args.JsonRestore())
        said = dict(manager.restore(step, args=args)["about"])
        own = said.pop("self", None)
        intact = own == _json_digest(said)
    if said.get("format") != FORMAT:
        raise ValueError(
            f"checkpoint {path} must be of format {FORMAT}, got {said.get('format')!r}"
        )
    if not intact:
        raise ValueError(f"checkpoint {path} is damaged: its description is not what was written")
    with refusing(path):
        return from_description(About, said, "the description")


def read_tree(directory: Path, step: int, name: str, like: PyTree[Any]) -> PyTree[Any]:
    """The arrays stored under `name` in checkpoint `step`, in the structure of `like`.

    Raises:
        ValueError: naming the checkpoint, if it is damaged or does not fit `like`.
    """
    import orbax.checkpoint as ocp

    path = directory / str(step)
    about = read_about(directory, step)
    originals, treedef = jax.tree.flatten(like)
    leaves = [_plain(leaf) if _is_key(leaf) else leaf for leaf in originals]
    stored: dict[str, Any] = {}
    if leaves:
        # Before memory is taken; and Orbax lets other shapes pass.
        _require_fit(path, name, stored_arrays(directory, step, name), leaves)
        wanted = dict(_numbered([np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]))
        with refusing(path), _manager(directory) as manager:
            args = ocp.args.Composite(**{name: ocp.args.StandardRestore(wanted)})
            stored = manager.restore(step, args=args)[name]
    arrays = [np.asarray(stored[number]) for number, _ in _numbered(leaves)]
    if digest(arrays) != about.digests.get(name):
        raise ValueError(
            f"checkpoint {path} is damaged or does not fit: {name!r} is not what was written"
        )
    restored = [
        jax.random.wrap_key_data(jax.numpy.asarray(array), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else jax.numpy.asarray(array)
        for array, leaf in zip(arrays, originals, strict=True)
    ]
    return jax.tree.unflatten(treedef, restored)


def stored_arrays(directory: Path, step: int, name: str) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the arrays stored under `name`, without reading them.

    Raises:
        ValueError: naming the checkpoint, if it is damaged.
    """
    import orbax.checkpoint as ocp

    path = directory / str(step)
    with refusing(path):
        tree = ocp.StandardCheckpointHandler().metadata(path.absolute() / name).tree
        by_number = sorted(tree.items(), key=lambda item: int(item[0]))
        return [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for _, leaf in by_number]


def _require_fit(path: Path, name: str, stored: list[Any], leaves: list[Any]) -> None:
    def of(arrays: list[Any]) -> list[Any]:
        return [(tuple(array.shape), jnp.dtype(array.dtype)) for array in arrays]

    for (shape, dtype), wanted in zip(of(stored), of(leaves), strict=False):
        if (shape, dtype) != wanted:
            raise ValueError(
                f"checkpoint {path} does not fit: {name!r} must hold {wanted[1]} of shape "
                f"{wanted[0]}, got {dtype} of shape {shape}"
            )
    if len(stored) != len(leaves):
        raise ValueError(
            f"checkpoint {path} does not fit: {name!r} must hold {len(leaves)} arrays, got "
            f"{len(stored)}"
        )


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> np.ndarray:
    """A leaf as NumPy has it; a random key (some optimizers hold one) as its integers."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns whatever Orbax, TensorStore or JSON say of a bad checkpoint into one named error."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"checkpoint {path} is damaged or does not fit: {error}") from error


def _json_digest(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _numbered(leaves: list[Any]) -> list[tuple[str, Any]]:
    return [(f"{number:05d}", leaf) for number, leaf in enumerate(leaves)]
