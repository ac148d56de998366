"""The comparison as a table and as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from networks import NETWORKS

if TYPE_CHECKING:
    from compare import Measurement


def print_table(measurements: list[Measurement], machine: dict) -> None:
    """One table in Markdown for each number of threads, and below it why cells are empty."""
    engines = unique(m.engine for m in measurements)
    print(f"\n{machine['cpu']}, {machine['cores']} cores; median ms, batch 1, f32")
    times = lambda row: [cell(row[engine]) for engine in engines] + [ratio(row)]
    print_rows(measurements, [*engines, "best peer / kiln"], times)
    print("\nStart to first answer in ms / growth of peak memory in MB:")
    print_rows(measurements, engines, lambda row: [start(row[engine]) for engine in engines])
    for m in measurements:
        if m.problem:
            print(f"\n{m.engine} on {NETWORKS[m.network].title}, {counted(m.threads)}: {m.problem}")


def print_rows(
    measurements: list[Measurement], columns: list[str], cells: Callable[[dict[str, Measurement]], list[str]]
) -> None:
    """A row for each network, whose cells come from its measurements by engine."""
    for threads in unique(m.threads for m in measurements):
        chosen = [m for m in measurements if m.threads == threads]
        print(f"\n| {counted(threads)} | {' | '.join(columns)} |")
        print("|---" * (len(columns) + 1) + "|")
        for network in unique(m.network for m in chosen):
            row = {m.engine: m for m in chosen if m.network == network}
            print(f"| {NETWORKS[network].title} | {' | '.join(cells(row))} |")


def cell(m: Measurement) -> str:
    if not m.times_ms:
        return "–"
    time = f"{m.median_ms:.2f}"
    return time if m.counts else f"{time} (error {m.error:.0e})"


def start(m: Measurement) -> str:
    return f"{m.first_answer_ms:.0f} / {m.memory_bytes / 1e6:.0f}" if m.first_answers_ms else "–"


def ratio(row: dict[str, Measurement]) -> str:
    """The fastest peer's time over kiln's."""
    peers = [m.median_ms for engine, m in row.items() if engine != "kiln" and m.counts]
    kiln = row.get("kiln")
    return f"{min(peers) / kiln.median_ms:.2f}" if peers and kiln and kiln.counts else "–"


def plot(measurements: list[Measurement], machine: dict, file: Path) -> None:
    """Bars of speed relative to the fastest peer, a panel for each number of threads."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    engines = unique(m.engine for m in measurements)
    networks = unique(m.network for m in measurements)
    panels = unique(m.threads for m in measurements)
    figure, all_axes = pyplot.subplots(
        len(panels), 1, figsize=(10, 3.2 * len(panels)), squeeze=False, layout="constrained"
    )
    colors = {engine: pyplot.get_cmap("tab10")(at) for at, engine in enumerate(engines)}
    width = 0.8 / len(engines)
    for axes, threads in zip(all_axes[:, 0], panels):
        for at, network in enumerate(networks):
            row = {m.engine: m for m in measurements if (m.network, m.threads) == (network, threads) and m.counts}
            best = min((m.median_ms for engine, m in row.items() if engine != "kiln"), default=None)
            for place, engine in enumerate(engines):
                if best is None or engine not in row:
                    continue
                m = row[engine]
                x = at - 0.4 + (place + 0.5) * width
                axes.bar(x, best / m.median_ms, width, color=colors[engine])
                label = f" {m.median_ms:.1f}"
                axes.annotate(label, (x, best / m.median_ms), ha="center", va="bottom", fontsize=6, rotation=90)
        axes.axhline(1, color="black", linewidth=0.5)
        axes.set_xticks(range(len(networks)), [NETWORKS[network].title for network in networks])
        axes.set_ylabel(f"speed, {counted(threads)}\n(best peer = 1)")
        axes.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colors[engine]) for engine in engines]
    figure.legend(handles, engines, loc="outside upper center", ncols=len(engines), frameon=False, fontsize=8)
    figure.supxlabel(f"{machine['cpu']}; labels: median ms, batch 1, f32", fontsize=8)
    figure.savefig(file, dpi=150)


def counted(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def unique(values) -> list:
    """The distinct values, in the order of their first appearance."""
    return list(dict.fromkeys(values))
