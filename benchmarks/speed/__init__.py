"""Costs of the library against named ceilings and peers, one module for each suite."""
