"""The command line, `kinetic-jax`; it needs the extra `demo`."""

import sys


def main() -> None:
    """Runs the command line, or says which extra is missing."""
    try:
        from kinetic_jax._cli import cli
    except ModuleNotFoundError as error:
        sys.exit(
            f"kinetic-jax needs the package {error.name}: pip install 'kinetic_jax[demo]' (from a "
            "clone: pip install -e '.[demo]')"
        )
    cli(prog_name="kinetic-jax")


if __name__ == "__main__":
    main()
