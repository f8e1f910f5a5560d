"""Models in `.npz` files with half-precision weights, without pickle."""

import json
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from kinetic_jax._arrays import pack, unpacked
from kinetic_jax._checks import require
from kinetic_jax._digest import digest
from kinetic_jax._files import PathLike, local_path, with_size, write_whole
from kinetic_jax.networks import ImageClassifier, NetworkField
from kinetic_jax.networks._network_field import described_field, own_spec

T = TypeVar("T")
FORMAT = 1


def write_field(path: PathLike, field: NetworkField, **about: object) -> None:
    """Writes a field made by `network_field`, with weights rounded to float16.

    Args:
        path: a `.npz`.
        field: the field, without transforms.
        **about: further entries of the description, of JSON types.

    Raises:
        ValueError: if the field was not made by `network_field`, or a weight is out of float16's
            range.
    """
    path, spec = local_path("path", path), own_spec(field)
    if spec is None:
        raise ValueError(f"field must be made by network_field, got {type(field).__name__}")
    _write(path, field, {"field": spec.to_json(), **about})


def read_field(path: PathLike) -> NetworkField:
    """Loads a field from a file of `write_field`; a damaged one raises a `ValueError`."""
    arrays, about = _read(path, "field")
    try:
        field = described_field(about["field"], len(arrays))
    except Exception as error:  # excessive sizes raise various errors
        raise ValueError(f"{path} describes no network that can be built: {error}") from error
    return _with_weights(path, field, arrays)


def write_classifier(path: PathLike, classifier: ImageClassifier, **about: object) -> None:
    """Writes a classifier; see `write_field`."""
    sizes = [list(weight.shape) for weight in classifier.weights]
    _write(path, classifier, {"classifier": sizes, **about})


def read_classifier(path: PathLike) -> ImageClassifier:
    """Loads a classifier from a file of `write_classifier`; see `read_field`."""
    arrays, about = _read(path, "classifier")
    sizes = [list(array.shape) for array in arrays if array.ndim == 2]
    fits = bool(sizes) and about["classifier"] == sizes
    require(fits, f"{path}", "weights of other shapes", "fit the model that it describes")
    (inputs, *widths), num_classes = [size[0] for size in sizes], sizes[-1][1]
    try:
        classifier = eqx.filter_eval_shape(
            lambda: ImageClassifier(
                (inputs,), num_classes, widths=tuple(widths), key=jax.random.key(0)
            )
        )
    except ValueError as error:
        raise ValueError(f"{path} describes no classifier that can be built: {error}") from error
    return _with_weights(path, classifier, arrays)


def read_about(path: PathLike) -> dict[str, Any]:
    """Reads the description of the model in a file; see `read_field`."""
    return _read(path, None)[1]


def _write(path: PathLike, tree: PyTree, about: dict[str, object]) -> None:
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    with np.errstate(over="ignore"):  # refused below
        rounded = [np.asarray(leaf).astype(np.float16) for leaf in leaves]
    is_finite = all(np.isfinite(leaf).all() for leaf in rounded)
    require(is_finite, "weights", "a number out of float16's range", "be finite in float16")
    description = json.dumps({"format": FORMAT, "digest": digest(rounded)} | about, sort_keys=True)
    numbered = {f"{number:05d}": leaf for number, leaf in enumerate(rounded)}
    write_whole(local_path("path", path), pack({"about": np.array(description)} | numbered))


def _read(path: PathLike, kind: str | None) -> tuple[list[np.ndarray], dict[str, Any]]:
    path = local_path("path", path)
    try:
        with unpacked(path) as file:
            about = json.loads(file.text("about"))
            names = sorted(file.headers.keys() - {"about"})
            dtypes = {file.headers[name].dtype.name for name in names}
            require(dtypes <= {"float16"}, "its weights", sorted(dtypes), "be float16")
            arrays = [file[name] for name in names]
    except Exception as error:  # readers raise various errors for damaged files
        raise ValueError(f"{with_size(path)} is unreadable: {error}") from error
    version = about.get("format") if isinstance(about, dict) else about
    require(version == FORMAT, f"{path}", version, f"be of format {FORMAT}")
    if digest(arrays) != about.get("digest"):
        raise ValueError(f"{path} is damaged: its weights are not what was written")
    require(kind is None or kind in about, f"{path}", sorted(about), f"hold a {kind}")
    return arrays, about


def _with_weights(path: PathLike, model: T, arrays: list[np.ndarray]) -> T:
    """Replaces the floating shapes in `model` by the arrays, cast to the dtypes of the shapes."""
    weights, rest = eqx.partition(model, _is_weight)
    shapes, treedef = jax.tree.flatten(weights)
    fits = [leaf.shape for leaf in shapes] == [array.shape for array in arrays]
    require(fits, f"{path}", "weights of other shapes", "fit the model that it describes")
    leaves = [jnp.asarray(a.astype(leaf.dtype)) for a, leaf in zip(arrays, shapes, strict=True)]
    return eqx.combine(jax.tree.unflatten(treedef, leaves), rest)


def _is_weight(leaf: object) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jnp.floating)
