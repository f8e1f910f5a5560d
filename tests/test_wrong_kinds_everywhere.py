"""Arguments of wrong kinds, in each place of each public function, are named by a ValueError.

A new public name fails here until `public_calls.py` has a call of it; a new parameter is tested
without being listed. One process without runtime type checks, which would speak first.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

PROGRAM = Path(__file__).with_name("public_calls.py")

# Names that nobody calls with values of their own.
NOT_CALLED = {
    "a dictionary": {"AUTHORS_UNET", "STATISTICS"},
    "a protocol or a type": {"Transform", "VelocityField"},
    "a setting, which `tune` checks": {"Setting"},
    "a result": {
        *("AccumulatedGuidance", "AtomLanding", "Authenticity", "CopyFeatures", "Correlation"),
        "Estimate",
        *("DensityProfile", "Descent", "Diagnosis", "Drawn", "Efficiency", "RejectedRun"),
        *("Rejection", "SelectedRun", "Selection", "SettingResult", "Statistic", "Stratum"),
        *("TransportBounds", "Tuning"),
        *("EmpiricalValues", "EnergyGroup", "EnergyIdentity", "EnergyParts", "EnergyThreshold"),
        *("Excess", "Failures", "Fifths", "FitResult", "FrechetFloor", "Groups", "HeaviestAtoms"),
        *("Images", "Interval", "Job", "Kept", "KernelDistance", "KineticProfile", "LateEnergy"),
        *("Memorization", "Neighbors", "PairedDifference", "PathEnergy", "PrecisionRecall"),
        *("RocAuc", "Scales", "Shard", "ShardProfile", "Spread", "ThresholdSweep", "Trajectories"),
    },
}

# Right in that place, after all: by reason, call(parameter) and the kinds.
TEXT, COMPLEX, LIST, OBJECT = "a string", "a complex number", "a nested list", "a nested object"
NAN, TEXTS = "NaN", "an array of strings"
ALLOWED = {
    "a path": {
        ("CopyDetector.load", "path"): (TEXT,),
        ("CopyDetector.save", "path"): (TEXT,),
        ("compare", "folder"): (TEXT,),
        ("fit", "checkpoint_dir"): (TEXT,),
        ("grid_from_scheduler", "config"): (TEXT,),
        ("load_authors_checkpoint", "path"): (TEXT,),
        ("load_field", "directory"): (TEXT,),
        ("load_images", "name_or_path"): (TEXT,),
        ("load_images", "data"): (TEXT,),
        ("open_job", "folder"): (TEXT,),
        ("reflow", "checkpoint_dir"): (TEXT,),
        ("run_job", "out"): (TEXT,),
        ("save_field", "directory"): (TEXT,),
        ("schedule_from_scheduler", "config"): (TEXT,),
    },
    "a key of a dictionary": {("load_authors_checkpoint", "entry"): (TEXT,)},
    "None is a choice, though not the default": {
        ("fit", "ema"): ("None",),
        ("reflow", "ema"): ("None",),
        ("run_job", "say"): ("None",),
    },
    "a condition of one sample may be any numbers, and a field of none needs none": {
        ("cfg", "null_cond"): ("None", COMPLEX, LIST),
        ("cfg_zero_star", "null_cond"): ("None", COMPLEX, LIST),
        ("energy_term", "cond"): (COMPLEX, LIST, NAN),
    },
    "a pytree of weights, which has to fit x, unknown so far": {
        ("energy_term", "mass"): (LIST,),
        ("energy_term", "frame"): (LIST,),
        ("JobSettings", "mass"): (LIST,),
        ("JobSettings", "frame"): (LIST,),
        ("JobSettings, conditions", "mass"): (LIST,),
        ("JobSettings, conditions", "frame"): (LIST,),
    },
    "a pytree of the user's own function, which alone knows what it needs": {
        ("from_vector_field", "args"): (TEXT, COMPLEX, LIST, OBJECT, NAN, TEXTS),
    },
}
CASES_ALLOWED = [
    (*place, kind) for group in ALLOWED.values() for place, kinds in group.items() for kind in kinds
]


@pytest.fixture(scope="module")
def told():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.read_text()],
        input=json.dumps(CASES_ALLOWED),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def is_named(parameter, message):
    """True for a ValueError about that argument: "<argument> must ..."."""
    subject = re.match(r"ValueError: (.{1,60}?) must ", message)
    return subject is not None and parameter in re.findall(r"\w+", subject[1])


def test_each_public_name_has_a_call(told):
    called = {re.match(r"\w+", call)[0] for call in told["calls"]}
    public, apart = set(told["public"]), set.union(*NOT_CALLED.values())
    assert sorted(public - called - apart) == []
    assert sorted((called | apart) - public) == []
    assert not called & apart


def test_the_argument_of_a_wrong_kind_is_named(told):
    unnamed = [
        f"{call}({parameter} = {kind}): {message.splitlines()[0] if message else 'accepted'}"
        for call, parameter, kind, message, _ in told["cases"]
        if not is_named(parameter, message)
    ]
    assert unnamed == []
    assert len(told["cases"]) > 1900


def test_what_is_allowed_can_be_passed(told):
    assert told["unused"] == []


def test_wrong_kinds_are_refused_before_anything_large_compiles(told):
    conversions = 2
    assert [case for case in told["cases"] if case[-1] > conversions] == []
