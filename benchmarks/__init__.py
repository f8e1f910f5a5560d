"""Benchmarks: every speed claim is a ratio measured in one run against a named ceiling or peer."""
