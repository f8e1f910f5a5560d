"""Sizes that fill a GPU or TPU: `python -m benchmarks speed --preset accelerator`.

`_preset.py` runs the parts within a time, `_parts.py` lists them; the others measure.
"""
