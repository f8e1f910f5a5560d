"""Checkpoints of a training by what the command line names: folders, files, included models."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kinetic_jax._checks import require
from kinetic_jax._cli._sample import find_field
from kinetic_jax._files import local_path
from kinetic_jax._pictures import visible
from kinetic_jax._pretrained import MODELS, pretrained, pretrained_steps, read_about, read_field
from kinetic_jax._pretrained._load import WEIGHTS
from kinetic_jax.networks import NetworkField
from kinetic_jax.training import _storage, load_field

_NPZ = ".npz"  # of `python -m benchmarks train`
_STEP = re.compile(rf"(\d+)(?:{re.escape(_NPZ)})?$")
_OF_MODEL = re.compile(rf"({'|'.join(map(re.escape, MODELS))})@(\d+)")
Loader = Callable[[], NetworkField]


class Checkpoints(Mapping[int | str, NetworkField]):
    """Fields by training step, or by name, that are loaded when they are looked up."""

    def __init__(self, keys: Sequence[int] | Sequence[str], loaders: Sequence[Loader]):
        self._loaders: dict[int | str, Loader] = dict(zip(keys, loaders, strict=True))

    def __getitem__(self, key: int | str) -> NetworkField:
        return self._loaders[key]()

    def __iter__(self) -> Iterator[int | str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)


def find_checkpoints(names: Sequence[str], *, ema: bool = True) -> Checkpoints:
    """The checkpoints that names stand for, by training step if every one has its own.

    A name is a folder of `save_field`, one of `fit` (all of its checkpoints), a folder of such
    folders, a checkpoint of the KTS authors, an included model (all of its checkpoints) or one of
    its checkpoints, MODEL@STEP.

    Raises:
        ValueError: if there is no such checkpoint, or two have the same name.
    """
    loaders: dict[str, Loader] = {}
    for name in names:
        for own, loader in _expanded(name, ema):
            require(own not in loaders, "checkpoint", own, "be named once")
            loaders[own] = loader
    numbers = [_STEP.search(name) for name in loaders]
    steps = [int(number[1]) for number in numbers if number is not None]
    if len(set(steps)) == len(loaders):
        return Checkpoints(steps, list(loaders.values()))
    return Checkpoints(list(loaders), list(loaders.values()))


def _expanded(name: str, ema: bool) -> list[tuple[str, Loader]]:
    """The names and loaders of the checkpoints that one name stands for."""
    one = _OF_MODEL.fullmatch(name)
    if one is not None:
        return [(name, functools.partial(pretrained, one[1], step=int(one[2])))]
    folder = local_path("checkpoint", name)
    if name in MODELS and not folder.exists():
        last = functools.partial(pretrained, name)
        before = [
            (f"{name}@{step}", functools.partial(pretrained, name, step=step))
            for step in pretrained_steps(name)
        ]
        step = read_about(WEIGHTS / f"{MODELS[name]}.npz")["step"]
        return [*before, (f"{name}@{step}", last)]
    if folder.is_file() and folder.suffix == _NPZ:
        return [(name, functools.partial(read_field, folder))]
    if not folder.exists():
        find_field(name)  # raises, before others are loaded
    if not folder.is_dir():
        return [(name, functools.partial(find_field, name, ema=ema))]
    if _steps(folder):
        return _of_folder(name, folder, ema)
    inside = [path for path in visible(folder) if path.is_dir() and _steps(path)]
    require(bool(inside), "checkpoint", name, "be a folder of save_field or fit, or hold some")
    return [pair for path in inside for pair in _of_folder(str(path), path, ema)]


def _of_folder(name: str, folder: Path, ema: bool) -> list[tuple[str, Loader]]:
    """The checkpoint of `save_field` in a folder, or all of those of `fit`."""
    steps = _steps(folder)
    if _storage.read_about(folder, steps[-1]).settings is None:
        return [(name.rstrip("/"), functools.partial(load_field, folder, ema=ema))]
    return [
        (f"{name.rstrip('/')}/{step}", functools.partial(load_field, folder, step=step, ema=ema))
        for step in steps
    ]


def _steps(folder: Path) -> list[int]:
    """The numbers of the checkpoints in a folder; other folders may have numbers as names, too."""
    return sorted(
        int(path.name)
        for path in folder.iterdir()
        if path.name.isdigit() and (path / "about").is_dir()
    )
