"""The diagnosis of a folder, against NumPy on all of its samples at once."""

import json

import numpy as np
import pytest
from scipy import stats

from kinetic_jax._cli._diagnose import as_json
from kinetic_jax.jobs import JobSettings, _diagnose, diagnose_job, open_job, run_job

N = 60
ENERGIES = ("total", "launch", "landing", "displacement", "excess", "length")


@pytest.fixture(scope="module")
def job(make_field, tmp_path_factory):
    settings = JobSettings(n=N, shard_size=7, num_steps=5, labels=[0, 1])
    folder = tmp_path_factory.mktemp("job")
    return run_job(make_field((2, 3), num_classes=2), folder, settings, say=None)


@pytest.fixture(scope="module")
def raw(job):
    """The samples in raw data's scale, which is 4 x + 8."""
    return 4 * np.concatenate([shard.x1 for shard in job.shards()]).astype(np.float64) + 8


@pytest.fixture(scope="module")
def train(raw):
    """Rows beside some of the samples, so that these are copies, and others."""
    rng = np.random.default_rng(0)
    near = raw[::3] + rng.normal(size=raw[::3].shape) * 0.2
    return np.concatenate([near, 8 + 6 * rng.normal(size=(40, 2, 3))]).astype(np.float32)


@pytest.fixture(autouse=True)
def several_searches(monkeypatch):
    monkeypatch.setattr(_diagnose, "SAMPLES_PER_SEARCH", 16)


def brute(queries, train):
    """Distances to the two nearest rows, and which they are."""
    gaps = queries.reshape(len(queries), 1, -1) - train.astype(np.float64).reshape(len(train), -1)
    distances = np.linalg.norm(gaps, axis=2)
    order = np.argsort(distances, axis=1)[:, :2]
    return np.take_along_axis(distances, order, axis=1), order


def wilson(share, number):
    z2 = stats.norm.ppf(0.975) ** 2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    root = np.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    half = np.sqrt(z2) / (1 + z2 / number) * root
    return [middle - half, middle + half]


@pytest.mark.long
def test_everything_is_what_numpy_finds(job, raw, train):
    found = diagnose_job(job, train)
    distances, order = brute(raw, train)
    ratio = distances[:, 0] / distances[:, 1]
    copies = ratio < 1 / 3
    assert 5 < copies.sum() < N - 5
    memorization = found.memorization
    np.testing.assert_allclose(memorization.distances, distances, rtol=1e-4)
    np.testing.assert_array_equal(memorization.indices[:, 0], order[:, 0])
    np.testing.assert_array_equal(memorization.memorized, copies)
    np.testing.assert_array_equal(found.index, np.arange(N))
    np.testing.assert_array_equal(found.label, np.arange(N) % 2)
    assert memorization.fraction == copies.mean()
    interval = memorization.low, memorization.high
    np.testing.assert_allclose(interval, wilson(copies.mean(), N), rtol=1e-9)
    assert (found.job.n, found.num_train, found.failures) == (N, 60, (0, 0, []))
    for name in ENERGIES:
        energies = [getattr(shard.energy, name) for shard in job.shards()]
        values = np.concatenate(energies).astype(float)
        np.testing.assert_array_equal(getattr(found.energy, name), values.astype(np.float32))
        want = [values.mean(), values.std(ddof=1), *np.percentile(values, [0, 25, 50, 75, 100])]
        np.testing.assert_allclose(getattr(found.spreads, name), want, rtol=1e-12)
        spearman = getattr(found.correlations, name)
        want = stats.spearmanr(values, distances[:, 0]).statistic
        assert spearman.value == pytest.approx(want, abs=1e-12)
        assert spearman.low < want < spearman.high
    for name, groups in found.fifths._asdict().items():
        energy = getattr(found.energy, name)
        by_energy = np.argsort(energy, kind="stable").reshape(5, N // 5)
        for share, distance, members in zip(*groups, by_energy, strict=True):
            assert share.number == distance.number == N // 5
            assert [share.lowest, share.highest] == energy[members[[0, -1]]].tolist()
            assert share.mean == pytest.approx(copies[members].mean())
            want = wilson(copies[members].mean(), N // 5)
            np.testing.assert_allclose([share.low, share.high], want, atol=1e-12)
            mean = distances[members, 0].mean()
            assert distance.mean == pytest.approx(mean, rel=1e-5)
            assert distance.low < mean < distance.high
    keys = "folder n train threshold confidence bad_samples energy nearest_distance memorization"
    more = "fifths spearman_with_nearest_distance scale"
    assert list(json.loads(json.dumps(as_json(found)))) == [*keys.split(), *more.split()]


def test_held_out_data_are_the_floor(job, raw, train):
    rng = np.random.default_rng(1)
    held_out = np.concatenate([8 + 6 * rng.normal(size=(30, 2, 3)), train[:10] + 0.01])
    memorization = diagnose_job(job, train, held_out=held_out, threshold=0.4).memorization
    ours, theirs = (
        float((ratio < 0.4).mean())
        for ratio in (d[:, 0] / d[:, 1] for d, _ in (brute(raw, train), brute(held_out, train)))
    )
    assert theirs >= 0.25
    assert memorization.fraction == ours
    assert (memorization.held_out.fraction, memorization.held_out.valid.sum()) == (theirs, 40)
    assert memorization.excess.fraction == pytest.approx(ours - theirs)


@pytest.mark.long
def test_data_may_be_flat_bytes_or_a_memmap(job, raw, tmp_path):
    pixels = np.clip(raw[:20].round(), 0, 255).astype(np.uint8)
    np.save(tmp_path / "pixels.npy", pixels.reshape(20, 6))
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    results = [diagnose_job(job, data) for data in (pixels, pixels[..., None], mapped)]
    for found in results:
        nearest = found.memorization.distances[:, 0]
        np.testing.assert_allclose(nearest, brute(raw, pixels)[0][:, 0], rtol=1e-4)
        assert found.memorization.fraction == results[0].memorization.fraction


@pytest.mark.long
def test_merged_duplicates(job, train):
    twice = np.concatenate([train, train])
    hidden = diagnose_job(job, twice).memorization
    merged = diagnose_job(job, twice, merge_duplicates=True).memorization
    alone = diagnose_job(job, train).memorization
    assert (hidden.fraction, hidden.duplicated.sum()) == (0.0, N)
    assert merged.fraction == alone.fraction


def test_missing_and_damaged_shards_are_told(job, train, tmp_path):
    for path in job.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shard-00001.npz").unlink()
    (tmp_path / "shard-00004.npz").write_bytes(b"")
    words = r"lacks 2 of its 9 shards \(shard-00001.npz is missing; shard-00004.npz is damaged"
    with pytest.raises(ValueError, match=words):
        diagnose_job(open_job(tmp_path), train)


@pytest.mark.long
def test_bad_samples_are_counted_and_left_out(make_field, poisoned, train, tmp_path):
    field = poisoned(make_field((2, 3), num_classes=2))
    settings = JobSettings(n=24, shard_size=10, num_steps=3, labels="all")
    found = diagnose_job(run_job(field, tmp_path, settings, say=None), train)
    assert found.failures == (12, 0, list(range(1, 21, 2)))
    assert found.valid.sum() == found.memorization.valid.sum() == 12
    energy = found.energy.total[::2].astype(float)
    assert found.spreads.total.mean == pytest.approx(energy.mean(), rel=1e-12)
    assert sum(group.number for group in found.fifths.total.memorized) == 12


@pytest.mark.usefixtures("own_messages")
def test_bad_arguments(job, train):
    with pytest.raises(ValueError, match=r"train must have rows of 6 numbers.*\(2, 3\).*\(60, 5\)"):
        diagnose_job(job, np.zeros((60, 5)))
    with pytest.raises(ValueError, match="held_out must have rows of 6"):
        diagnose_job(job, train, held_out=np.zeros((4, 2)))
    with pytest.raises(ValueError, match="threshold must lie in"):
        diagnose_job(job, train, threshold=0.0)
    with pytest.raises(ValueError, match="train must have at least two rows"):
        diagnose_job(job, train[:1])
