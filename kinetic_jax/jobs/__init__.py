"""Jobs: resumable sampling to disk, and statistics of the samples."""

from kinetic_jax.jobs._diagnose import diagnose_job as diagnose_job
from kinetic_jax.jobs._diagnosis import Diagnosis as Diagnosis
from kinetic_jax.jobs._diagnosis import Failures as Failures
from kinetic_jax.jobs._diagnosis import Fifths as Fifths
from kinetic_jax.jobs._diagnosis import Groups as Groups
from kinetic_jax.jobs._diagnosis import Scales as Scales
from kinetic_jax.jobs._diagnosis import Spread as Spread
from kinetic_jax.jobs._read import Job as Job
from kinetic_jax.jobs._read import open_job as open_job
from kinetic_jax.jobs._run import run_job as run_job
from kinetic_jax.jobs._settings import JobSettings as JobSettings
from kinetic_jax.jobs._shards import EnergyParts as EnergyParts
from kinetic_jax.jobs._shards import Shard as Shard
from kinetic_jax.jobs._shards import ShardProfile as ShardProfile
