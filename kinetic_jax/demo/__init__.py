"""`kinetic-jax demo` trains a flow on real digits and reports on its samples."""
