"""The gallery of `docs/gallery`: other people's models, each against a loop of plain NumPy."""

from benchmarks.clients._compare import Comparison as Comparison
from benchmarks.clients._compare import compare as compare
