"""The published claims about kinetic energy, measured on images: one module a claim."""

from benchmarks.claims._page import into_page as into_page
from benchmarks.claims._page import others_into_page as others_into_page
from benchmarks.claims._page import require_marks as require_marks
from benchmarks.claims._page import results_table as results_table
from benchmarks.claims._registry import CLAIMS as CLAIMS
from benchmarks.claims._registry import Claim as Claim
from benchmarks.claims._reproduce import reproduce as reproduce
from benchmarks.claims._subjects import Subjects as Subjects
from benchmarks.claims._subjects import shipped_subjects as shipped_subjects
from benchmarks.claims._subjects import train_models as train_models
from benchmarks.claims._subjects import trained_subjects as trained_subjects
from benchmarks.claims._subjects import with_held_out as with_held_out
