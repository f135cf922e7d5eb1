"""Tables for a terminal. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from micronas.quantities import format_bytes, format_macs

if TYPE_CHECKING:
    from micronas.nas.search import SearchResult


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; numbers to the right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        all(row[column][:1].isdigit() or row[column] in ("", "-") for row in rows)
        for column in range(len(header))
    ]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if side else cell.ljust(width)
            for cell, width, side in zip(row, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def pairs(values: Mapping[str, Any]) -> str:
    """One line a value."""
    width = max(map(len, values))
    return "\n".join(f"{name:{width}}  {value}" for name, value in values.items())


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Accuracy, and each cost beside its budget."""
    budget, used = metrics["budget"], metrics["used"]
    spent = {
        "sram": format_bytes,
        "flash": format_bytes,
        "latency": lambda value: f"{value:.1f} ms",
        "macs": format_macs,
    }
    rows = [
        [name, show(budget[name] * used[name]), show(budget[name]), f"{100 * used[name]:.0f} %"]
        for name, show in spent.items()
        if name in budget
    ]
    lines = [
        f"network        {metrics['network']}",
        f"accuracy       float {percent(metrics['float_accuracy'])}, "
        f"int8 {percent(metrics['int8_accuracy'])} ({metrics['judged_on']})",
        f"cost           {format_macs(metrics['macs'])}, "
        f"flash {format_bytes(metrics['flash_bytes'])}, "
        f"arena {format_bytes(metrics['arena_bytes'])}, {metrics['latency_ms']:.1f} ms "
        f"on {metrics['board']}",
        "",
        table(["budget", "used", "limit", "share"], rows),
        "",
        f"tflm_mismatches {metrics['tflm_mismatches']}",
        f"fits {str(metrics['fits']).lower()}",
    ]
    return "\n".join(lines)


def search_summary(result: "SearchResult", metrics: Mapping[str, Any]) -> str:
    """The trial trainings, which of them won and by how much, and the final network."""
    rows = [
        [
            each.origin,
            str(each.architecture),
            format_macs(each.costs.macs),
            f"{each.costs.latency_ms:.0f} ms",
            str(each.trial_epochs),
            percent(each.trial_accuracy or 0.0),
        ]
        for each in result.candidates
    ]
    header = ["origin", "network", "MACs", "latency", "epochs", "trial"]
    margin = 100 * metrics["search"]["ahead_of_best_other_origin"]
    return "\n".join(
        [
            table(header, rows),
            f"winner: {result.winner.origin}, {margin:+.1f} points against the best of the other "
            "origin, in trial trainings",
            "",
            metrics_table(metrics),
        ]
    )


def profile_table(described: Mapping[str, Any]) -> str:
    """One line a layer, then the totals."""
    rows = [
        [
            layer["name"],
            layer["op"],
            "x".join(map(str, layer["output"][1:])),
            format_macs(layer["macs"]),
            format_bytes(layer["weights_bytes"]),
            format_bytes(layer["live_bytes"]),
        ]
        for layer in described["layers"]
    ]
    energy = described["energy_mj"]
    totals = {
        "MACs": f"{described['macs']:,}",
        "flash": f"{described['flash_bytes']:,} B",
        "arena": f"{described['arena_bytes']:,} B (head {described['arena_head_bytes']:,} B)",
        "arena, 64-bit host": f"{described['host_arena_bytes']:,} B "
        f"(head {described['host_arena_head_bytes']:,} B)",
        "latency": f"{described['latency_ms']:.1f} ms on {described['board']}",
        "energy": "not known for this board" if energy is None else f"{energy:.2f} mJ",
    }
    return "\n".join(
        [table(["layer", "op", "output", "MACs", "weights", "live"], rows), "", pairs(totals)]
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
