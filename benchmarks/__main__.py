"""Measurements: `python -m benchmarks speed|claims|train|clients`."""

from kinetic_jax._cli import Commands

MODULES = {
    "speed": ("benchmarks.speed._command", "Measure what the library costs."),
    "claims": ("benchmarks.claims._command", "Measure the published claims about energy."),
    "train": ("benchmarks.claims._train", "Train the models of the claims on labelled images."),
    "clients": ("benchmarks.clients._command", "Run the gallery of other people's models."),
}
main = Commands(
    MODULES,
    name="benchmarks",
    help="Measure speed, the published claims and other people's models.",
)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
