"""The demo's table as strings, for the terminal, the report and Markdown."""

from typing import Any

HEADER = (
    "",
    "E",
    "launch",
    "landing",
    "excess",
    "F_mem (95%)",
    "F_mem held-out",
    "Fréchet",
    "confidence",
)

FLOOR_NOTE = "* of one half of the held-out digits from the other"


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table, in the order of `HEADER`."""
    energy = row["energy"]
    bad = f" ({row['bad_samples']} bad samples left out)" if row["bad_samples"] else ""
    return [
        row["name"] + bad,
        *(f"{energy[part]:.1f}" for part in ("total", "launch", "landing")),
        f"{energy['excess']:.2f}",
        _share(row["f_mem"], row["f_mem_interval"]),
        f"{100 * row['f_mem_held_out']:.1f}%",
        f"{row['frechet']:.2f}",
        f"{100 * row['confidence']:.1f}%",
    ]


def held_out_cells(held_out: dict[str, Any]) -> list[str]:
    """The scores of held-out digits, for comparison with the rows."""
    return [
        "held-out digits",
        *[""] * 4,
        _share(held_out["f_mem"], held_out["f_mem_interval"]),
        "",
        f"{held_out['frechet_floor']:.2f}*",
        f"{100 * held_out['confidence']:.1f}%",
    ]


def markdown_table(results: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = [list(HEADER), ["---"] + ["---:"] * (len(HEADER) - 1)]
    lines += [cells(row) for row in results["rows"]]
    lines.append(held_out_cells(results["held_out"]))
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return f"{table}\n\\{FLOOR_NOTE}\n"  # an unescaped * would start a list


def _share(share: float, interval: list[float]) -> str:
    return f"{100 * share:.1f}% ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
