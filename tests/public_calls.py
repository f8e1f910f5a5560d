"""A small valid call of each public name; run as a program, with arguments of wrong kinds.

A program of its own, because runtime type checks, which pytest installs, would speak first.
"""

import inspect
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import diffrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import kinetic_jax as kj


class Call(NamedTuple):
    """A callable, and the arguments of a valid call by name."""

    function: Any
    arguments: dict[str, Any]


# Public, in packages that hold helpers of other packages as well.
ELSEWHERE = (
    *("AUTHORS_UNET", "ImageClassifier", "Images", "PatchMixer", "ResidualMLP", "Scaling", "UNet"),
    *("from_scaled_time", "load_images", "network_field", "sweep"),
    *("Schedule", "cosine_schedule", "ddpm_schedule", "edm_schedule", "linear_schedule"),
    *("vp_schedule", "edm_denoiser", "from_prediction", "schedule_from_scheduler"),
    *("grid_from_profile", "grid_from_scheduler", "load_authors_checkpoint", "encode"),
    *("FlatTorus", "SpecialOrthogonal", "Sphere", "identify_convention", "in_frame", "on_manifold"),
    *("cfg_zero_star", "clock_matched", "complete", "guide", "reflow", "shifted_grid", "smooth"),
    *("ssc",),
)


def public_names() -> list[str]:
    """The names of `kinetic_jax`, and those of its submodules."""
    names = {*kj.__all__, *ELSEWHERE}
    for module in (kj.copies, kj.exact, kj.jobs, kj.metrics, kj.tuning):
        names |= {name for name, value in vars(module).items() if not inspect.ismodule(value)}
    return sorted(name for name in names if not name.startswith("_"))


WRONG = {
    "None": None,
    "a string": "text",
    "a complex number": 1j,
    "a nested list": [1, [2]],
    "a nested object": {"a": object()},
    "NaN": float("nan"),
    "an array of strings": np.array(["a", "b"]),
}


class Linen(nn.Module):
    """The smallest network of Flax Linen."""

    @nn.compact
    def __call__(self, t, x):
        return nn.Dense(2)(x)


def calls(folder: Path) -> dict[str, Call]:
    """By public name; those after a dot are methods, those in brackets what a call returned."""
    key = jax.random.key(0)
    rows = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    x0, numbers, copied = jnp.asarray(rows[:4]), rows[:, 0], np.arange(6) % 2 == 0
    sides, rngs = (4, 4, 1), nnx.Rngs(0)
    network = kj.networks.network_field("mlp", (2,), key=key, num_classes=3, width=4, depth=1)
    plain = kj.networks.network_field("mlp", (2,), key=key, width=4, depth=1)
    exact = kj.EmpiricalField(rows)
    classes = kj.EmpiricalField(rows, labels=np.arange(6) % 2)
    saved = kj.sample(exact, x0, num_steps=4, save_at=jnp.array([0.5, 0.75]))
    state = kj.energy_init(x0)
    settings = kj.jobs.JobSettings(n=4, shard_size=4, num_steps=2)
    job = kj.jobs.run_job(plain, folder / "job", settings, say=None, progress=False)
    kj.save_field(folder / "field", plain)
    linen = Linen()
    variables = linen.init(key, jnp.zeros(1), jnp.zeros((1, 2)))
    two = {"samples": rows[:4], "train": rows}
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}
    pair = {"a": rows, "b": rows + 1}
    found = {
        "Distance": Call(kj.tuning.Distance, {"of_features": np.mean}),
        "EmpiricalField": Call(kj.EmpiricalField, {"data": rows}),
        "EmpiricalField.__call__": Call(exact, {"t": 0.5, "x": x0[0]}),
        "EmpiricalField.__call__, labelled": Call(classes, {"t": 0.5, "x": x0[0], "cond": 1}),
        "EmpiricalField.log_density": Call(exact.log_density, {"t": 0.5, "x": x0[0]}),
        "EmpiricalField.on_batch": Call(classes.on_batch, {"t": 0.5, "x": rows, "cond": 1}),
        "EmpiricalField.posterior": Call(exact.posterior, {"t": 0.5, "x": x0[0], "k": 2}),
        "FrechetReference": Call(kj.metrics.FrechetReference, {"b": rows}),
        "GaussianField": Call(kj.GaussianField, {"mean": jnp.zeros(2), "scale": 1.0}),
        "ImageClassifier": Call(
            kj.networks.ImageClassifier,
            {"event_shape": sides, "num_classes": 2, "widths": (4,), "key": key},
        ),
        "JobSettings": Call(kj.jobs.JobSettings, {"n": 4, "labels": 1, "cfg": 2.0}),
        "JobSettings, conditions": Call(kj.jobs.JobSettings, {"n": 4, "cond": np.zeros(4)}),
        "PatchMixer": Call(
            kj.networks.PatchMixer,
            {"event_shape": sides, "width": 4, "depth": 1, "told": 4, "rngs": rngs},
        ),
        "ResidualMLP": Call(
            kj.networks.ResidualMLP, {"event_shape": (2,), "width": 4, "depth": 1, "rngs": rngs}
        ),
        "Schedule": Call(
            kj.fields.Schedule, {"alpha": lambda r: r, "sigma": lambda r: 1 - r, "span": (0.0, 1.0)}
        ),
        "Scaling": Call(kj.networks.Scaling, {}),
        "UNet": Call(
            kj.networks.UNet,
            {
                "event_shape": sides,
                "base_channels": 4,
                "multiples": (1,),
                "attention": (False,),
                "num_res_blocks": 1,
                "groups": 1,
                "heads": 1,
                "rngs": rngs,
            },
        ),
        "authpct": Call(kj.metrics.authpct, two),
        "cfg": Call(kj.cfg, {"scale": 2.0, "null_cond": 3}),
        "cfg()": Call(kj.cfg(2.0, 3), {"field": network}),
        "cfg_zero_star": Call(kj.transforms.cfg_zero_star, {"scale": 2.0, "null_cond": 3}),
        "clock_matched": Call(kj.transforms.clock_matched, {"gain": kj.kts(0.1)}),
        "cosine_schedule": Call(kj.fields.cosine_schedule, {}),
        "ddpm_schedule": Call(
            kj.fields.ddpm_schedule, {"alphas_cumprod": np.linspace(0.99, 0.01, 5)}
        ),
        "edm_denoiser": Call(kj.fields.edm_denoiser, {"network": plain}),
        "edm_schedule": Call(kj.fields.edm_schedule, {}),
        "cfm_loss": Call(kj.cfm_loss, {"field": plain, "key": key, "x1": x0}),
        "chain": Call(lambda transforms: kj.chain(transforms), {"transforms": kj.identity()}),
        "compare": Call(
            kj.compare,
            {
                "fields": {1: plain, 2: plain},
                "key": key,
                "num_samples": 8,
                "num_steps": 4,
                "train": rows,
                "limit": 0.5,
            },
        ),
        "complete": Call(kj.sampling.complete, {"field": plain, "run": x0, "residual": 0.1}),
        "copies_of": Call(kj.tuning.copies_of, {"train": rows}),
        "ct_score": Call(kj.metrics.ct_score, two | {"held_out": rows + 1}),
        "density_profile": Call(kj.exact.density_profile, {"field": exact, "trajectories": saved}),
        "diagnose_job": Call(kj.jobs.diagnose_job, {"job": job, "train": rows}),
        "efficiency": Call(
            kj.metrics.efficiency,
            {
                "energy": np.abs(numbers) + 1,
                "bounds": kj.metrics.transport_bounds(rows),
                "resamples": 3,
            },
        ),
        "transport_bounds": Call(kj.metrics.transport_bounds, {"data": rows, "key": key}),
        "energy_groups": Call(
            kj.metrics.energy_groups, {"energy": numbers, "values": numbers, "num_groups": 2}
        ),
        "energy_identity": Call(kj.exact.energy_identity, {"field": exact, "t": 0.5, "x": x0[0]}),
        "energy_init": Call(kj.energy_init, {"x0": x0}),
        "energy_result": Call(kj.energy_result, {"state": state, "x1": x0}),
        "energy_state": Call(kj.energy_state, {"x0": x0[0]}),
        "energy_term": Call(kj.energy_term, {"field": plain}),
        "energy_threshold": Call(
            kj.metrics.energy_threshold, {"energy": numbers, "memorized": copied}
        ),
        "energy_update": Call(kj.energy_update, {"state": state, "u": x0, "t": 0.0, "dt": 0.1}),
        "fit": Call(
            kj.fit,
            {
                "field": network,
                "data": rows,
                "key": key,
                "num_steps": 1,
                "batch_size": 2,
                "optimizer": optax.sgd(0.1),
                "cond": np.zeros(6, int),
            },
        ),
        "frechet_distance": Call(kj.frechet_distance, pair),
        "frechet_floor": Call(
            kj.metrics.frechet_floor, {"train": rows, "held_out": rows, "size": 4}
        ),
        "frechet_to": Call(kj.tuning.frechet_to, {"held_out": rows}),
        "from_linen": Call(kj.from_linen, {"module": linen, "variables": variables}),
        "from_nnx": Call(kj.from_nnx, {"model": nnx.Linear(2, 2, rngs=rngs)}),
        "from_prediction": Call(
            kj.fields.from_prediction,
            {"model": plain, "predicts": "data", "schedule": kj.fields.linear_schedule()},
        ),
        "from_reversed_time": Call(kj.from_reversed_time, {"field": plain}),
        "from_scaled_time": Call(kj.fields.from_scaled_time, {"field": plain, "time_scale": 10.0}),
        "from_vector_field": Call(kj.from_vector_field, {"vf": lambda t, y, args: y}),
        "gain": Call(kj.gain, {"fn": lambda t: 1.0}),
        "gain_by_gradients": Call(
            kj.tuning.gain_by_gradients,
            {
                "field": network,
                "objective": lambda drawn: drawn.run.energy.total,
                "key": key,
                "cond": np.zeros(6, int),
                "iterations": 1,
                "batch_size": 2,
                "num_steps": 2,
            },
        ),
        "grid_from_profile": Call(
            kj.sampling.grid_from_profile, {"profile": saved, "num_steps": 3}
        ),
        "grid_from_scheduler": Call(
            kj.sampling.grid_from_scheduler,
            {"config": flow, "num_steps": 4, "image_seq_len": 4096},
        ),
        "guide": Call(kj.transforms.guide, {"other": plain, "weight": 0.5}),
        "guide()": Call(kj.transforms.guide(plain, 0.5), {"field": plain}),
        "in_frame": Call(
            kj.energy.in_frame,
            {"energy": saved.energy, "x0": x0, "x1": saved.x1, "frame": np.ones(2)},
        ),
        "identify_convention": Call(
            kj.training.identify_convention,
            {"model": network, "data": rows, "key": key, "cond": np.zeros(6, int)},
        ),
        "identity": Call(kj.identity, {}),
        "identity()": Call(kj.identity(), {"field": plain}),
        "kde_support": Call(kj.kde_support, {"x": rows, "reference": rows}),
        "kernel_distance": Call(kj.metrics.kernel_distance, pair | {"subset_size": 3}),
        "kernel_penalty": Call(kj.tuning.kernel_penalty, {"held_out": rows}),
        "kernel_to": Call(kj.tuning.kernel_to, {"held_out": rows}),
        "knn_support": Call(kj.knn_support, {"x": rows, "reference": rows, "k": 2}),
        "kts": Call(kj.kts, {"alpha0": 0.1}),
        "kts()": Call(kj.kts(0.1), {"field": plain}),
        "kts_gain": Call(kj.kts_gain, {"t": 0.5, "alpha0": 0.1, "beta0": 0.0}),
        "kts_settings": Call(kj.tuning.kts_settings, {}),
        "late_energy": Call(
            kj.exact.late_energy,
            {"field": exact, "learned": plain, "trajectories": saved, "start": 0.4},
        ),
        "linear_schedule": Call(kj.fields.linear_schedule, {}),
        "load_authors_checkpoint": Call(
            # No file of PyTorch is at hand here: the other arguments are checked before it is read.
            kj.networks.load_authors_checkpoint,
            {"path": folder / "Model_0"},
        ),
        "load_field": Call(kj.load_field, {"directory": folder / "field"}),
        "load_images": Call(kj.data.load_images, {"name_or_path": "digits"}),
        "memorization": Call(kj.memorization, two | {"completed": rows[:4], "plain": rows[:4]}),
        "nearest_neighbors": Call(kj.nearest_neighbors, {"queries": rows, "reference": rows}),
        "network_field": Call(
            kj.networks.network_field,
            {"network": "mlp", "event_shape": (2,), "key": key, "width": 4, "depth": 1},
        ),
        "noise": Call(kj.noise, {"key": key, "index": 0, "shape": (2,)}),
        "on_manifold": Call(
            kj.fields.on_manifold, {"field": plain, "manifold": kj.manifolds.Sphere()}
        ),
        "FlatTorus": Call(kj.manifolds.FlatTorus, {"period": 1.0}),
        "SpecialOrthogonal": Call(kj.manifolds.SpecialOrthogonal, {"n": 3}),
        "Sphere": Call(kj.manifolds.Sphere, {}),
        "open_job": Call(kj.jobs.open_job, {"folder": folder / "job"}),
        "paired_difference": Call(
            kj.metrics.paired_difference, {"values": numbers, "baseline": -numbers}
        ),
        "path_norm": Call(kj.path_norm, {"norm": jnp.linalg.norm}),
        "precision_recall": Call(kj.precision_recall, pair | {"k": 2}),
        "pretrained": Call(kj.pretrained, {"name": "fashion-mnist"}),
        "pretrained_classifier": Call(kj.pretrained_classifier, {"name": "fashion-mnist"}),
        "pretrained_steps": Call(kj.pretrained_steps, {"name": "fashion-mnist"}),
        "profile_grids": Call(kj.tuning.profile_grids, {"profile": saved, "num_steps": 3}),
        "reflow": Call(
            kj.training.reflow,
            {
                "field": network,
                "key": key,
                "num_pairs": 6,
                "num_steps": 1,
                "optimizer": optax.sgd(0.1),
                "batch_size": 2,
                "cond": np.zeros(6, int),
                "sample_steps": 2,
            },
        ),
        "roc_auc": Call(kj.metrics.roc_auc, {"positive": numbers, "negative": -numbers}),
        "run_job": Call(
            kj.jobs.run_job,
            {"field": plain, "out": folder / "job", "settings": settings, "say": None},
        ),
        "sample": Call(
            kj.sample, {"field": network, "x0": x0, "cond": np.zeros(4, int), "num_steps": 4}
        ),
        "sample, adaptive": Call(
            kj.sample,
            {"field": plain, "x0": x0, "controller": diffrax.PIDController(rtol=1e-2, atol=1e-2)},
        ),
        "sample, log density": Call(
            kj.sample,
            {"field": plain, "x0": x0, "num_steps": 2, "log_density": "hutchinson", "key": key},
        ),
        "encode": Call(
            kj.sampling.encode,
            {"field": plain, "x1": x0, "num_steps": 2, "log_density": "hutchinson", "key": key},
        ),
        "bits_per_dimension": Call(
            kj.metrics.bits_per_dimension,
            {
                "log_density": numbers,
                "scaling": kj.networks.Scaling(127.5, 127.5),
                "num_dimensions": 4,
            },
        ),
        "schedule_from_scheduler": Call(kj.fields.schedule_from_scheduler, {"config": flow}),
        "save_field": Call(kj.save_field, {"directory": folder / "field", "field": plain}),
        "shifted_grid": Call(kj.sampling.shifted_grid, {"num_steps": 4, "shift": 3.0}),
        "single_atom": Call(kj.exact.single_atom, {"gain": 1.0, "t": 0.5}),
        "smooth": Call(kj.transforms.smooth, {"sigma": 0.1, "num": 2, "key": key}),
        "snap_of": Call(
            kj.tuning.snap_of, {"field": plain, "earlier": plain, "key": key, "draws": 2}
        ),
        "ssc": Call(kj.transforms.ssc, {"a": 0.1, "b": 1.0}),
        "vp_schedule": Call(kj.fields.vp_schedule, {}),
        "spearman": Call(kj.metrics.spearman, {"a": numbers, "b": -numbers}),
        "sweep": Call(kj.sampling.sweep, {"field": plain, "x0": x0, "num_steps": 4}),
        "tune": Call(
            kj.tuning.tune,
            {
                "field": network,
                "settings": [kj.tuning.Setting("constant", kj.gain(lambda t: 0.9))],
                "objective": lambda drawn: drawn.run.energy.total,
                "distance": np.mean,
                "bound": 0.0,
                "key": key,
                "cond": np.zeros(4, int),
                "num_samples": 4,
                "num_steps": 2,
                "resamples": 2,
            },
        ),
    }
    return found | calls_of_copies(network, plain, x0) | calls_of_rejection(network, plain, x0)


def calls_of_rejection(network: Any, plain: Any, x0: jax.Array) -> dict[str, Call]:
    """Those of rejection and selection in `kinetic_jax.copies`."""
    key, copies = jax.random.key(0), kj.copies
    rows = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    numbers = rows[:, 0]
    return {
        "accumulated_guidance": Call(
            copies.accumulated_guidance,
            {"field": network, "x0": x0, "cond": np.zeros(4, int), "num_steps": 4},
        ),
        "affordable": Call(copies.affordable, {"evaluations": 400}),
        "clusters": Call(copies.clusters, {"features": rows, "k": 2, "key": key}),
        "reject": Call(copies.reject, {"risk": numbers, "strata": np.arange(6) % 2}),
        "reject, limit": Call(copies.reject, {"risk": numbers, "limit": 0.0}),
        "sample_rejecting": Call(
            copies.sample_rejecting,
            {
                "field": plain,
                "x0": x0,
                "risk": lambda run: run.energy.total,
                "strata": np.arange(4) % 2,
                "num_steps": 4,
            },
        ),
        "sample_selecting": Call(
            copies.sample_selecting,
            {"field": plain, "x0": x0, "by": "early bending", "group_size": 2, "num_steps": 10},
        ),
        "sample_selecting, guidance": Call(
            copies.sample_selecting,
            {
                "field": network,
                "x0": x0,
                "cond": np.zeros(4, int),
                "by": "guidance",
                "group_size": 2,
                "num_steps": 4,
            },
        ),
        "sample_selecting, random": Call(
            copies.sample_selecting,
            {
                "field": plain,
                "x0": x0,
                "by": "random",
                "key": key,
                "group_size": 2,
                "num_steps": 4,
            },
        ),
        "select": Call(copies.select, {"score": numbers, "group_size": 2}),
    }


def calls_of_copies(labelled: Any, plain: Any, x0: jax.Array) -> dict[str, Call]:
    """Those of `kinetic_jax.copies`, of a model with labels and one without."""
    key, copies = jax.random.key(0), kj.copies
    run = kj.sample(plain, x0, num_steps=10)
    one = {"field": plain, "x1": x0, "key": key}
    guided = {"field": labelled, "x0": x0, "cond": np.zeros(4, int)}
    values = np.linspace(-1, 1, 40)[:, None] ** 3
    features = copies.CopyFeatures(values, ("snap",), {"steps": 10})
    detector = copies.CopyDetector.fit(features, values[:, 0] > 0)
    return {
        "CopyDetector.fit": Call(
            copies.CopyDetector.fit, {"features": features, "labels": values[:, 0] > 0}
        ),
        "CopyDetector.load": Call(copies.CopyDetector.load, {"path": "detector.json"}),
        "CopyDetector.save": Call(detector.save, {"path": "detector.json"}),
        "CopyDetector.score": Call(detector.score, {"features": features}),
        "CopyDetector.without_labels": Call(
            copies.CopyDetector.without_labels, {"features": features}
        ),
        "check_earlier": Call(
            copies.check_earlier,
            {"earlier": plain, "earliest": plain, "x1": run.x1, "key": key},
        ),
        "anisotropy": Call(copies.anisotropy, guided),
        "bending": Call(copies.bending, {"profile": run.profile}),
        "negatives": Call(copies.negatives, {"field": plain, "held_out": x0, "key": key}),
        "contraction": Call(copies.contraction, {"field": plain, "x0": x0, "key": key}),
        "copy_features": Call(
            copies.copy_features, {"field": plain, "run": run, "key": key, "bins": 2}
        ),
        "curvature": Call(copies.curvature, one),
        "curvature_difference": Call(copies.curvature_difference, one | {"earlier": plain}),
        "early_bending": Call(copies.early_bending, {"profile": run.profile}),
        "flipd": Call(copies.flipd, one),
        "guidance_cosine": Call(copies.guidance_cosine, guided),
        "guidance_norm": Call(copies.guidance_norm, guided),
        "guided_sharpness": Call(copies.guided_sharpness, guided),
        "norm_rule": Call(copies.norm_rule, {"profile": run.profile, "usual": run.profile.speed2}),
        "p_laplace": Call(copies.p_laplace, one),
        "profile_features": Call(copies.profile_features, {"profile": run.profile, "bins": 2}),
        "reconstruction": Call(copies.reconstruction, one),
        "self_consistency": Call(copies.self_consistency, one),
        "snap": Call(copies.snap, one | {"earlier": plain}),
        "spread": Call(copies.spread, one),
        "total_variation": Call(copies.total_variation, {"x1": jnp.ones((2, 4, 4))}),
        "train_distance": Call(copies.train_distance, {"x1": x0, "train": np.asarray(x0)}),
    }


def parameters(call: Call) -> dict[str, Any]:
    """The names of all that may be passed, with what is right in each place."""
    function = call.function
    if isinstance(function, type) and issubclass(function, nnx.Module):
        function = function.__init__  # NNX hides the signature of the class itself
    named = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self" and parameter.kind != inspect.Parameter.VAR_KEYWORD
    }
    return dict.fromkeys(call.arguments, ...) | named


def as_many(texts: Any, right: Any) -> Any:
    """An array of texts with as many rows as the right argument, if that has rows."""
    rows = right.shape[:1] if isinstance(right, np.ndarray | jax.Array) else ()
    return np.full(rows, "a") if rows else texts


def outcome(call: Call, name: str, value: Any) -> str:
    """The error of the call with that argument, and of what kind it is; "" for none."""
    try:
        call.function(**call.arguments | {name: value})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    """Prints (call, parameter, kind, outcome, programs compiled) of all cases that are not allowed.

    Standard input has the allowed ones, as [[call, parameter, kind], ...].
    """
    allowed = set(map(tuple, json.loads(sys.stdin.read())))
    only = sys.argv[1:]
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where a string is a path
        every = calls(Path(folder))
        for name, call in every.items():
            for parameter, default in parameters(call).items():
                for kind, value in WRONG.items():
                    if default is value or (only and name not in only):
                        continue
                    if (name, parameter, kind) in allowed:
                        allowed.remove((name, parameter, kind))
                        continue
                    before = len(compiled)
                    if kind == "an array of strings":
                        value = as_many(value, call.arguments.get(parameter))
                    message = outcome(call, parameter, value)
                    cases.append((name, parameter, kind, message, len(compiled) - before))
    print(
        json.dumps(
            {
                "public": public_names(),
                "calls": list(every),
                "cases": cases,
                "unused": sorted(allowed),
            }
        )
    )


if __name__ == "__main__":
    main()
