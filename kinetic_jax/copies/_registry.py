"""The statistics by name: what each needs, what it costs, and who proposed it."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from kinetic_jax._checks import require
from kinetic_jax.copies._guesses import reconstruction, self_consistency, snap, spread
from kinetic_jax.copies._guided import anisotropy, guidance_cosine, guidance_norm, guided_sharpness
from kinetic_jax.copies._paths import contraction, early_bending, norm_rule
from kinetic_jax.copies._samples import total_variation, train_distance
from kinetic_jax.copies._sharpness import curvature, curvature_difference, flipd, p_laplace


class Statistic(NamedTuple):
    """A statistic of copies, one of `STATISTICS`.

    Attributes:
        function: the function.
        needs: names of the arguments without which it cannot be computed.
        evaluations: of the field per sample with the default settings, about; those of an earlier
            one among them. 0 where the path of the sample is enough.
        source: who proposed it.
    """

    function: Callable[..., Float[Array, " batch"]]
    needs: tuple[str, ...]
    evaluations: int
    source: str

    def __call__(self, **given: Any) -> Float[Array, " batch"]:
        """The scores.

        Args:
            **given: inputs, of which those that the function does not take are left out: field,
                earlier, x1, x0, cond, null_cond, key, profile, usual, train; and settings of the
                function, such as `draws`.

        Raises:
            ValueError: naming the argument, if an input is missing or the function has no such
                setting; or by the function.
        """
        name = self.function.__name__
        for needed in self.needs:
            require(given.get(needed) is not None, needed, None, f"be given for {name}")
        parameters = inspect.signature(self.function).parameters
        is_open = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        for setting in set(given) - _INPUTS:
            is_known = is_open or setting in parameters
            require(is_known, "a setting", repr(setting), f"be one of {name}: {list(parameters)}")
        taken = {*parameters} | (set(given) - _INPUTS)
        return self.function(**{n: v for n, v in given.items() if n in taken and v is not None})


_INPUTS = frozenset(
    ("field", "earlier", "x1", "x0", "cond", "null_cond", "key", "profile", "usual", "train")
)
_FIELD = ("field", "x1", "key")
_EARLIER = ("field", "earlier", "x1", "key")
_GUIDED = ("field", "x0", "cond")

#: The statistics of this module by name, each a `Statistic` with what it needs, what it costs and
#: where it was published.
STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        statistic.function.__name__: statistic
        for statistic in (
            Statistic(snap, _EARLIER, 16, "this package"),
            Statistic(spread, _FIELD, 8, "this package"),
            Statistic(self_consistency, _FIELD, 8, "this package"),
            Statistic(reconstruction, _FIELD, 12, "Carlini et al., arXiv 2301.13188"),
            Statistic(flipd, _FIELD, 13, "Kamkari et al., arXiv 2406.03537"),
            Statistic(curvature, _FIELD, 10, "Kim and Lee, arXiv 2605.26756"),
            Statistic(curvature_difference, _EARLIER, 20, "Kim and Lee, arXiv 2605.26756"),
            Statistic(p_laplace, _FIELD, 13, "Brokman et al., arXiv 2505.08246"),
            Statistic(guidance_norm, _GUIDED, 2, "Wen et al., arXiv 2407.21720"),
            Statistic(guidance_cosine, _GUIDED, 2, "Asthana and Belagiannis, arXiv 2601.20642"),
            Statistic(anisotropy, _GUIDED, 4, "Asthana and Belagiannis, arXiv 2601.20642"),
            Statistic(guided_sharpness, _GUIDED, 5, "Jeon, Kim and No, arXiv 2412.04140"),
            Statistic(contraction, ("field", "x0", "key"), 200, "this package"),
            Statistic(early_bending, ("profile",), 0, "this package"),
            Statistic(norm_rule, ("profile", "usual"), 0, "Huang et al., arXiv 2605.22050"),
            Statistic(total_variation, ("x1",), 0, "a trivial baseline"),
            Statistic(train_distance, ("x1", "train"), 0, "Yoon et al., with the training data"),
        )
    }
)
