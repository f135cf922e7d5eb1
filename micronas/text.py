"""Tables for a terminal. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from micronas.hardware.latency import mean_worst_percent
from micronas.quantities import format_bytes, format_cost, format_macs

if TYPE_CHECKING:
    from micronas.calibration.fit import Calibration
    from micronas.evaluation.layers import LayerError
    from micronas.hardware.latency import Fit
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
    rows = [
        [
            name,
            format_cost(name, limit * used[name]),
            format_cost(name, limit),
            f"{100 * used[name]:.0f} %",
        ]
        for name, limit in budget.items()
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
            f"strategy: {result.strategy}, {result.reason}",
            "",
            metrics_table(metrics),
        ]
    )


def profile_table(described: Mapping[str, Any]) -> str:
    """One line a layer, then the totals, then what they leave out."""
    rows = [
        [
            layer["name"],
            layer["op"],
            _size(layer["kernel"]),
            _size(layer["stride"]),
            _size(layer["output"][1:]),
            format_macs(layer["macs"]),
            format_bytes(layer["weights_bytes"]),
            format_bytes(layer["live_bytes"]),
            percent(layer["latency_share"]),
            " ".join(layer["flags"]),
        ]
        for layer in described["layers"]
    ]
    header = ["layer", "op", "kernel", "stride", "output", "MACs", "weights", "live", "time", ""]
    energy, excluded = described["energy_mj"], described["latency_excludes"]
    least = "at least " if excluded else ""
    arena = "at least " if described["arena_is_lower_bound"] else ""
    bound = "at most " if described["arena_is_upper_bound"] and not arena else arena
    totals = {
        "MACs": f"{least}{described['macs']:,}",
        "flash": f"{described['flash_bytes']:,} B",
        "arena": f"{bound}{described['arena_bytes']:,} B (head {described['arena_head_bytes']:,} B,"
        f" to start {described['arena_required_bytes']:,} B)",
        "arena, 64-bit host": f"{arena}{described['host_arena_bytes']:,} B "
        f"(head {described['host_arena_head_bytes']:,} B)",
        "latency": f"{least}{described['latency_ms']:.1f} ms on {described['board']}, by "
        f"{described['latency_form']}{_unless_validated(described['latency_status'])}",
        "energy": "not known for this board" if energy is None else f"{least}{energy:.2f} mJ",
        "fits": _verdict(described["fits"]),
    }
    if described["arena_assumes"]:
        totals["arena planned for"] = described["arena_assumes"]
    if described.get("metadata"):
        totals["labels"] = ", ".join(described["metadata"]["labels"])
    lines = [table(header, rows), "", pairs(totals)]
    if excluded:
        listed = ", ".join(f"{name} x{times}" for name, times in described["unknown_ops"].items())
        lines.append(f"not counted: {listed}")
    lines += [_pooling(each) for each in described["pooling"]]
    if described.get("paper"):
        lines.append(_paper(described["paper"]))
    if any("extrapolated" in layer["flags"] for layer in described["layers"]):
        lines.append("extrapolated: nothing alike was measured on this board; priced from above")
    if described["int4_layers"]:
        lines.append(
            "int4 weights: only the 64-bit host unpacks whole filters; SRAM is judged on the board"
        )
    if described.get("boards"):
        lines += ["", boards_table(described["boards"])]
    return "\n".join(lines)


def boards_table(boards: Sequence[Mapping[str, Any]]) -> str:
    """Whether a network fits each board, and what one inference costs there."""
    rows = [
        [
            each["board"],
            _verdict(each["fits"]),
            each["arena_assumes"] or ("upper bound" if each["arena_is_upper_bound"] else "exact"),
            f"{each['latency_ms']:.1f} ms{_unless_validated(each['latency_status'])}",
            "-" if each["energy_mj"] is None else f"{each['energy_mj']:.2f} mJ",
        ]
        for each in boards
    ]
    return table(["board", "fits", "arena", "latency", "energy"], rows)


def known_boards_table(boards: Sequence[Mapping[str, Any]]) -> str:
    """Limits of boards, and how well their latency is known."""
    rows = []
    for board in boards:
        latency = board["latency"]
        mean, worst = (latency[f"leave_one_out_{kind}percent"] for kind in ("", "worst_"))
        rows.append(
            [
                board["name"],
                board["core"],
                format_bytes(board["sram_bytes"]),
                format_bytes(board["flash_bytes"]),
                f"{board['clock_hz'] / 1e6:.0f} MHz",
                "-" if board["power_mw"] is None else f"{board['power_mw']:.0f} mW",
                latency["form"],
                "-" if mean is None else f"{mean:.0f} / {worst:.0f} %",
                f"{latency['networks']}{_unless_validated(latency['status'])}",
                board["kernels"],
            ]
        )
    header = ["board", "core", "SRAM", "flash", "clock", "power", "latency by"]
    return table([*header, "error, mean / worst", "networks", "measured with"], rows)


def calibration_report(calibration: "Calibration") -> str:
    """What each form of latency model errs, network by network, and whether more would help."""
    board = calibration.board
    forms = [
        [*_fit_row(form, fitted), "<-" if form == board.form else ""]
        for form, fitted in calibration.fits.items()
    ]
    names = ["form", "coefficients", "in sample, mean / worst", "left out, mean / worst", ""]
    chosen = calibration.fits[board.form]
    networks = [
        [name, signed(error), "-" if out is None else signed(out)]
        for name, error, out in zip(
            calibration.names,
            chosen.errors,
            chosen.left_out or [None] * len(chosen.errors),
            strict=True,
        )
    ]
    learning = ", ".join(f"{size}: {error:.1f} %" for size, error in calibration.learning.items())
    more = calibration.more
    return "\n".join(
        [
            table(["network", f"error of {board.form}", "left out"], networks),
            "",
            table(names, forms),
            "",
            f"error on the rest by networks measured: {learning or 'too few to say'}",
            f"{more} more networks would help" if more else "more networks would hardly help",
        ]
    )


def _fit_row(form: str, fitted: "Fit") -> list[str]:
    left_out = "-" if fitted.left_out is None else _mean_worst(fitted.left_out)
    priced = ", ".join(
        f"{term} {value:.3g}" for term, value in fitted.model.coefficients.items() if value
    )
    return [form, priced, _mean_worst(fitted.errors), left_out]


def _mean_worst(errors: Sequence[float]) -> str:
    mean, worst = mean_worst_percent(errors)
    return f"{mean:.1f} / {worst:.1f} %"


def _unless_validated(status: str) -> str:
    return "" if status == "validated" else f" ({status})"


def _paper(figures: Mapping[str, Any]) -> str:
    latency = f", {figures['latency_ms']} ms on this board" if figures["latency_ms"] else ""
    return (
        f"the paper: {figures['mops']} Mops (by its rounding ours are "
        f"{figures['ops_by_its_rounding'] / 1e6:.2f}), SRAM {figures['sram_kb']} KB, flash "
        f"{figures['flash_kb']} KB{latency}"
    )


def _pooling(compared: Mapping[str, Any]) -> str:
    difference = compared["difference_ms"]
    unit = "" if difference is None else f" ({difference:.2f} ms)"
    both = (
        f"{compared['average_pool_instructions']:,} instructions against "
        f"{compared['mean_instructions']:,} of MEAN{unit}"
    )
    if compared["op"] == "MEAN":
        return f"{compared['layer']}: AVERAGE_POOL_2D would take {both}"
    return f"{compared['layer']}: AVERAGE_POOL_2D takes {both}"


def layers_table(errors: "Sequence[LayerError]", culprit: "LayerError | None") -> str:
    """Signal-to-noise ratios of each layer; the one to look at is marked."""
    rows = [
        [
            error.name,
            error.kind,
            _decibels(error.cumulative.sqnr_db),
            _decibels(error.local.sqnr_db),
            _decibels(error.local.median_channel_db),
            _decibels(error.local.worst_channel_db),
            "-" if error.local.worst_channel is None else str(error.local.worst_channel),
            percent(error.saturated),
            "<-" if error is culprit else "",
        ]
        for error in errors
    ]
    header = ["layer", "op", "so far", "here", "median channel", "worst", "channel", "saturated"]
    return table([*header, ""], rows)


def _size(sizes: Sequence[int] | None) -> str:
    return "-" if sizes is None else "x".join(map(str, sizes))


def _verdict(fits: bool | None) -> str:
    return "not known" if fits is None else str(fits).lower()


def _decibels(ratio: float) -> str:
    return f"{ratio:.1f} dB" if math.isfinite(ratio) else "exact" if ratio > 0 else "lost"


def signed(error: float) -> str:
    """Write a relative error in percent with its sign."""
    return f"{100 * error:+.1f} %"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
