"""Experiments: the library's own, run from the command line (extra `demo`)."""
