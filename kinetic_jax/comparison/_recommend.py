"""The model to take: the last one before copying, by the data and without them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kinetic_jax.comparison._report import ModelReport
from kinetic_jax.comparison._table import label, percent
from kinetic_jax.metrics import Estimate
from kinetic_jax.metrics._intervals import wilson


class Recommendation(NamedTuple):
    """The model to take, by each rule, and why.

    Attributes:
        recommended: its name: that by the data if there are any, else that by snap; None for none.
        reason: sentences on why.
        by_data: the last model before copying by F_mem; None without data, or if there is none.
        by_snap: the same by snap; None if snap cannot say.
    """

    recommended: str | None
    reason: str
    by_data: str | None
    by_snap: str | None


class _Verdict(NamedTuple):
    """The answer of one rule.

    Attributes:
        last: the last model before copying; None if there is none.
        onset: the first model that copies; None if there is none.
        sentence: a sentence on both.
    """

    last: ModelReport | None
    onset: ModelReport | None
    sentence: str


def recommendation(
    models: Sequence[ModelReport],
    earliest: str,
    limit: float,
    confidence: float,
    *,
    held_out: Estimate | None = None,
    has_features: bool = False,
) -> Recommendation:
    """The last model before copying: by F_mem if there are data, else by snap.

    `held_out` is the held-out rows' own share. Only distances between features are mentioned: those
    between pixels prefer blurred images.
    """
    few = [model for model in models if not wilson(0, model.num_valid, confidence).high <= limit]
    usable = [model for model in models if model not in few]
    first = next(model for model in models if model.name == earliest)
    data, snap = None, _by_snap(usable, first, limit)
    if any(model.f_mem is not None for model in models):
        data = _by_data(usable, limit, held_out)
        if first.f_mem is not None and first.f_mem.low > limit and not _is_within(first, limit):
            text = f"Snap cannot say: {label(first)}, the earliest, copies already."
            snap = _Verdict(None, None, text)
    chosen = snap if data is None else data
    sentences = ["No model can be recommended."]
    if chosen.last is not None:
        sentences = [f"Take {label(chosen.last)}."]
    if data is not None:
        sentences.append(data.sentence)
    sentences.append(snap.sentence)
    if data is None:
        sentences.append(f"Whether {label(first)} copies itself cannot be seen without data.")
    if data is not None and data.last is not None and snap.last is not None:
        is_same = data.last == snap.last
        sentences.append("The two agree." if is_same else "The two disagree; the data decide.")
    if has_features:
        sentences += _nearer(chosen, usable)
    if few:
        listed = ", ".join(map(label, few))
        sentences.append(f"Left out, with too few valid samples to be judged: {listed}.")
    return Recommendation(
        _name(chosen.last),
        " ".join(sentences),
        None if data is None else _name(data.last),
        _name(snap.last),
    )


def _by_data(models: Sequence[ModelReport], limit: float, held_out: Estimate | None) -> _Verdict:
    """F_mem, or its excess over the held-out rows' share, must be shown to be within the limit."""
    last, onset = _last_before(models, lambda model: not _is_within(model, limit))
    allowed = f"{100 * limit:g}%"
    taken = models if onset is None else models[: list(models).index(onset)]
    if any(model.f_mem is not None and model.f_mem.high > limit for model in taken):
        allowed += f", or that much above the held-out rows' {_text(held_out)}"
    share = "By the data: F_mem"
    if onset is None:
        return _Verdict(last, None, f"{share} is within {allowed}, at every model.")
    text = f"{_text(onset.f_mem)} at {label(onset)}"
    if last is not None:
        text = f"{_text(last.f_mem)} at {label(last)} and {text}"
    sentence = f"{share} is {text}; the limit is {allowed}."
    return _Verdict(last, onset, sentence + _undecided(onset, held_out))


def _is_within(model: ModelReport, limit: float) -> bool:
    """True if the upper end of F_mem or of its excess is; True also without F_mem."""
    bounds = [one for one in (model.f_mem, model.over_held_out) if one is not None]
    return not bounds or any(one.high <= limit for one in bounds)


def _undecided(onset: ModelReport, held_out: Estimate | None) -> str:
    """A remark if the onset is not clearly above the held-out rows either."""
    share, over = onset.f_mem, onset.over_held_out
    if share is None or over is None or held_out is None or over.low > 0:
        return ""
    is_wider = held_out.high - held_out.low > share.high - share.low
    few = "held-out rows" if is_wider else "samples"
    reference = f"the held-out rows' {_text(held_out)}"
    return f" That is not clearly above {reference}: too few {few} to decide."


def _by_snap(models: Sequence[ModelReport], first: ModelReport, limit: float) -> _Verdict:
    """The share that snaps must be shown to be above the limit: it warns, and counts no copies."""

    def copies(model: ModelReport) -> bool:
        return model.snapped is not None and model.snapped.low > limit

    last, onset = _last_before(models, copies)
    share = f"By snap: the share of samples that snap against {label(first)}"
    if onset is None:
        return _Verdict(last, None, f"{share} is never clearly above {100 * limit:g}%.")
    text = f"{_text(onset.snapped)} at {label(onset)}"
    if last is not None and last.snapped is not None:
        text = f"{_text(last.snapped)} at {label(last)} and {text}"
    return _Verdict(last, onset, f"{share} is {text}.")


def _last_before(
    models: Sequence[ModelReport], copies: Callable[[ModelReport], bool]
) -> tuple[ModelReport | None, ModelReport | None]:
    """The last model before the first that copies, and that one."""
    last = None
    for model in models:
        if copies(model):
            return last, model
        last = model
    return last, None


def _nearer(chosen: _Verdict, models: Sequence[ModelReport]) -> list[str]:
    """A remark if an earlier model's samples are nearer to the held-out data."""
    last = chosen.last
    if last is None or last.distance is None:
        return []
    before = models[: list(models).index(last) + 1]
    pairs = [(model.distance, model) for model in before if model.distance is not None]
    distance, nearest = min(pairs, key=lambda pair: pair[0])
    if nearest == last:
        return ["No model before it is nearer to the held-out data."]
    return [
        f"Nearer to the held-out data is {label(nearest)}: a kernel distance of {distance:.4g} "
        f"in place of {last.distance:.4g}."
    ]


def _text(estimate: Estimate | None) -> str:
    if estimate is None:
        return "unknown"
    ends = f"[{percent(estimate.low)}, {percent(estimate.high)}]"
    return f"{percent(estimate.value)} {ends}"


def _name(model: ModelReport | None) -> str | None:
    return None if model is None else model.name
