"""One pass over many rows: scores of the rows for each query, reduced as they stream by."""

from kinetic_jax.streaming._reductions import Best as Best
from kinetic_jax.streaming._reductions import Highest as Highest
from kinetic_jax.streaming._reductions import Reduction as Reduction
from kinetic_jax.streaming._reductions import SoftmaxMean as SoftmaxMean
from kinetic_jax.streaming._reductions import SoftmaxSum as SoftmaxSum
from kinetic_jax.streaming._reductions import Tally as Tally
from kinetic_jax.streaming._reductions import Together as Together
from kinetic_jax.streaming._reductions import WeightedSum as WeightedSum
from kinetic_jax.streaming._rows import DEFAULT_CHUNK_SIZE as DEFAULT_CHUNK_SIZE
from kinetic_jax.streaming._rows import as_numbers as as_numbers
from kinetic_jax.streaming._rows import checked_rows as checked_rows
from kinetic_jax.streaming._rows import is_on_host as is_on_host
from kinetic_jax.streaming._rows import read_again as read_again
from kinetic_jax.streaming._rows import read_rows as read_rows
from kinetic_jax.streaming._rows import require_finite_rows as require_finite_rows
from kinetic_jax.streaming._rows import row_chunks as row_chunks
from kinetic_jax.streaming._rows import to_power_of_two as to_power_of_two
from kinetic_jax.streaming._scores import product_scores as product_scores
from kinetic_jax.streaming._shards import Shards as Shards
from kinetic_jax.streaming._shards import checked_shards as checked_shards
from kinetic_jax.streaming._shards import split_rows as split_rows
from kinetic_jax.streaming._shards import take_rows as take_rows
from kinetic_jax.streaming._stream import stream as stream
from kinetic_jax.streaming._stream import stream_from_host as stream_from_host
