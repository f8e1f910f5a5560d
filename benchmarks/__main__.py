"""Measurements: `python -m benchmarks speed|claims|train`."""

from kinetic_jax._cli import Commands

MODULES = {
    "speed": ("benchmarks.speed._command", "Measure what the library costs."),
    "claims": ("benchmarks.claims._command", "Measure the published claims about energy."),
    "train": ("benchmarks.claims._train", "Train the models of the claims on labelled images."),
}
main = Commands(MODULES, name="benchmarks", help="Measure speed, and the published claims.")

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
