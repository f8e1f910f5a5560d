"""Dataclasses from JSON objects, checked against their annotations."""

import dataclasses
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from kinetic_jax._checks import real_number, require, short, whole_number

T = TypeVar("T")


def from_description(cls: type[T], data: object, name: str) -> T:
    """A dataclass from a JSON object with the same fields; errors begin with its `name`.

    The annotations are those that `as_kind` supports; the dataclass checks ranges.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{name} must be an object of named fields, got {short(data)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(data.keys() - fields.keys())
    require(not unknown, name, short(unknown), f"have no fields but {', '.join(fields)}")
    required = {key for key, field in fields.items() if field.default is dataclasses.MISSING}
    missing = sorted(required - data.keys())
    require(not missing, name, f"none of {missing}", f"have the fields {', '.join(fields)}")
    kinds = get_type_hints(cls)
    values = {key: as_kind(value, kinds[key], f"{name}.{key}") for key, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from error


def as_kind(value: object, kind: Any, name: str) -> Any:
    """`value` as a number, str, bool, dict, dataclass, `tuple[kind, ...]` or `kind | None`."""
    inner = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        (other,) = (member for member in inner if member is not NoneType)
        return None if value is None else as_kind(value, other, name)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a list, got {short(value)}")
        return tuple(as_kind(item, inner[0], f"{name}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind):
        return from_description(kind, value, name)  # type: ignore[arg-type]
    if kind is int:
        return whole_number(name, value)
    if kind is float:
        return real_number(name, value)
    kind = get_origin(kind) or kind
    nouns = {str: "a string", bool: "true or false", dict: "an object of named fields"}
    require(isinstance(value, kind), name, short(value), f"be {nouns[kind]}")
    return value
