"""Selection of one of k against loops, and what each method costs."""

import diffrax
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import cfg, noise, sample
from kinetic_jax.copies import (
    accumulated_guidance,
    affordable,
    early_bending,
    sample_selecting,
    select,
)

N, K = 12, 3
X0 = noise(jax.random.key(0), jnp.arange(N), (3,))
LABELS = jnp.repeat(jnp.arange(N // K) % 2, K)
NULL = 2
SCORES = st.sampled_from([float("nan"), -np.inf, -1.0, 0.0, 0.5, np.inf])


def field(t, x, label):
    """Towards the centre of a class, turning."""
    centre = jnp.asarray([1.0, -1.0, 0.0], x.dtype)[label]
    return (centre - x) * (1 + t) + jnp.sin(3 * x + t)


@hypothesis.given(st.lists(st.lists(SCORES, min_size=3, max_size=3), min_size=1, max_size=6))
@pytest.mark.parametrize("keep", ["highest", "lowest"])
def test_the_best_of_each_slot(keep, slots):
    wanted = []
    for number, slot in enumerate(slots):
        best = None
        for place, score in enumerate(slot):
            if np.isnan(score):
                continue
            value = score if keep == "highest" else -score
            if best is None or value > best[0]:
                best = (value, place)
        wanted.append(3 * number + (0 if best is None else best[1]))
    result = select(np.array(slots).reshape(-1), group_size=3, keep=keep)
    assert result.kept.tolist() == wanted
    assert result.rejected.tolist() == sorted(set(range(3 * len(slots))) - set(wanted))
    assert result.unknown == sum(np.isnan(slot).all() for slot in slots)


def test_of_equals_the_first_stays():
    assert select(np.array([1.0, 2.0, 2.0]), group_size=3).kept.tolist() == [1]
    assert select(np.array([1.0, 2.0, 2.0]), group_size=1).kept.tolist() == [0, 1, 2]


SCORE = {
    "early bending": lambda run: early_bending(run.profile, end=0.4),
    "launch energy": lambda run: run.energy.total,
}


@pytest.mark.parametrize("keep", ["highest", "lowest"])
@pytest.mark.parametrize("by", SCORE)
def test_by_the_launch(by, keep):
    nodes = np.arange(11) / 10
    launch = sample(field, X0, LABELS, grid=nodes[:5])
    scores = np.asarray(SCORE[by](launch))
    wanted = select(scores, group_size=K, keep=keep)
    result = sample_selecting(field, X0, LABELS, by=by, keep=keep, group_size=K, num_steps=10)
    np.testing.assert_array_equal(result.selection.kept, wanted.kept)
    np.testing.assert_allclose(result.score, scores, rtol=1e-5)
    plain = sample(field, X0, LABELS, num_steps=10)
    np.testing.assert_allclose(result.run.x1, plain.x1[wanted.kept], rtol=1e-6)
    np.testing.assert_allclose(result.run.energy.total, plain.energy.total[wanted.kept], rtol=1e-6)
    assert result.evaluations == N * 4 + (N // K) * 6
    assert result.evaluations_per_kept == K * 4 + 6


@pytest.mark.parametrize("scale", [None, 2.0])
def test_by_guidance(scale):
    """The other velocity is one more call a step, but for a guided field."""
    model, none = (field, NULL) if scale is None else (cfg(scale, NULL)(field), None)
    path = accumulated_guidance(model, X0, LABELS, null_cond=none, until=0.4, num_steps=10)
    result = sample_selecting(
        *(model, X0, LABELS), by="guidance", null_cond=none, group_size=K, num_steps=10
    )
    np.testing.assert_allclose(result.score, path.total, rtol=1e-6)
    kept = select(np.asarray(path.total), group_size=K).kept
    np.testing.assert_array_equal(result.selection.kept, kept)
    plain = sample(model, X0, LABELS, num_steps=10)
    np.testing.assert_allclose(result.run.x1, plain.x1[kept], rtol=1e-6)
    calls = 2 if scale is None else 1
    assert result.evaluations == N * 4 * calls + (N // K) * 6


def test_by_a_verifier_at_the_end():
    plain = sample(field, X0, LABELS, num_steps=5)
    result = sample_selecting(
        *(field, X0, LABELS),
        by=lambda run: run.x1[:, 0],
        t_early=1.0,
        group_size=K,
        num_steps=5,
        solver=diffrax.Euler(),
        score_evaluations=1,
    )
    kept = 3 * np.arange(N // K) + np.argmax(np.asarray(plain.x1[:, 0]).reshape(-1, K), axis=1)
    np.testing.assert_array_equal(result.selection.kept, kept)
    assert result.evaluations_per_kept == K * 6


def test_at_random_no_other_candidate_is_sampled():
    def drawn(seed, number=N):
        given = {"by": "random", "key": jax.random.key(seed), "group_size": K, "num_steps": 5}
        return sample_selecting(field, X0[:number], LABELS[:number], **given)

    result = drawn(0)
    plain = sample(field, X0, LABELS, num_steps=5)
    np.testing.assert_allclose(result.run.x1, plain.x1[result.selection.kept], rtol=1e-6)
    assert result.evaluations == (N // K) * 5
    # A candidate's draw depends on the key and its number alone.
    np.testing.assert_array_equal(drawn(0, 6).selection.kept, result.selection.kept[:2])
    assert len({tuple(drawn(seed).selection.kept.tolist()) for seed in range(5)}) > 1


def test_failed_candidates_lose():
    x0 = X0.at[4].set(jnp.nan)
    middle = -np.abs(np.arange(N) % 3 - 1.0)
    result = sample_selecting(field, x0, LABELS, by=lambda run: middle, group_size=K, num_steps=5)
    assert result.selection.kept.tolist() == [1, 3, 7, 10]
    assert np.flatnonzero(np.isnan(result.score)).tolist() == [4]


@pytest.mark.parametrize(
    ("settings", "per_step", "split"),
    [
        ({}, 1, 4),
        ({"by": "guidance"}, 2, 4),
        ({"by": "guidance", "guided": True}, 1, 4),
        ({"by": "launch energy", "t_early": 0.69}, 1, 6),
        ({"solver": diffrax.Heun()}, 2, 4),
        ({"t_early": 1.0, "score_evaluations": 3}, 1, 10),
        ({"grid": "cosine"}, 1, 4),
    ],
)
def test_what_a_budget_affords(settings, per_step, split):
    """The most candidates whose cost, counted one by one, is within it."""
    calls = 2 if "solver" in settings else 1
    first = split * per_step + settings.get("score_evaluations", 0)
    rest = (10 - split) * calls
    for budget in range(first + rest, 90):
        count = affordable(budget, num_steps=10, **settings)
        assert count * first + rest <= budget < (count + 1) * first + rest
    with pytest.raises(ValueError, match=f"evaluations must be .* >= {first + rest}, what one"):
        affordable(first + rest - 1, num_steps=10, **settings)


def test_what_is_afforded_is_what_is_spent():
    for by, budget in (("early bending", 18), ("guidance", 31)):
        count = affordable(budget, by=by, num_steps=10)
        none = NULL if by == "guidance" else None
        result = sample_selecting(
            *(field, X0, LABELS), by=by, null_cond=none, group_size=count, num_steps=10
        )
        assert count == 3
        assert result.evaluations_per_kept <= budget


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "bending"}, "by must be one of .*'random'.*, or a function of the launch"),
        ({"group_size": 5}, "x0 must have a multiple of group_size, 5, got 12 candidates"),
        ({"group_size": 0}, "group_size must be a whole number >= 1"),
        ({"keep": "best"}, "keep must be one of"),
        ({"by": "random"}, "key must be one JAX random key"),
        ({"key": jax.random.key(0)}, "key must be left out, but for 'random'"),
        ({"null_cond": 2}, "null_cond must be left out, but for 'guidance'"),
        ({"by": "guidance"}, "null_cond must be given for a field that declares none"),
        ({"by": lambda run: run.x1}, "by must be a vector"),
        ({"by": lambda run: np.zeros(3)}, "by must return one number for each of 12"),
        ({"t_early": 0.0}, r"t_early must lie in \[0.1, 1\]"),
    ],
)
def test_settings_out_of_range(settings, message, own_messages):
    given = {"by": "early bending", "group_size": K, "num_steps": 10}
    with pytest.raises(ValueError, match=message):
        sample_selecting(field, X0, LABELS, **given | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "random"}, "by must be one of"),
        ({"t_early": 0.001}, "t_early must lie in"),
        ({"guided": 1}, "guided must be True or False"),
        ({"evaluations": 2.5}, "evaluations must be a whole number"),
    ],
)
def test_budgets_out_of_range(settings, message, own_messages):
    with pytest.raises(ValueError, match=message):
        affordable(**{"evaluations": 400} | settings)


def test_scores_out_of_range(own_messages):
    with pytest.raises(ValueError, match="score must have a multiple of group_size, 2, got 3"):
        select(np.zeros(3), group_size=2)
    with pytest.raises(ValueError, match="keep must be one of"):
        select(np.zeros(4), group_size=2, keep="both")
