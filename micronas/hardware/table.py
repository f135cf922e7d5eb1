"""Tables of boards and of a network's costs on them. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from micronas.hardware.targets import TFLM
from micronas.quantities import format_bytes, format_cost, format_macs
from micronas.text import pairs, percent, table


def profile_table(described: Mapping[str, Any], *, width: int | None = None) -> str:
    """Return one line per layer, then the totals, then what they leave out, within a width."""
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
        "inputs": _interface(described["inputs"]),
        "outputs": _interface(described["outputs"]),
        "MACs": f"{arena}{described['macs']:,}",
        "flash": f"{described['flash_bytes']:,} B",
        "arena": f"{bound}{described['arena_bytes']:,} B (head {described['arena_head_bytes']:,} B,"
        f" to start {described['arena_required_bytes']:,} B)",
        "TFLM's on a 64-bit host": f"{arena}{described['host_arena_bytes']:,} B "
        f"(head {described['host_arena_head_bytes']:,} B)",
        "latency": f"{least}{described['latency_ms']:.1f} ms on {described['board']}, by "
        f"{described['latency_form']}{_doubt(described)}",
        "on the device": _device(described["device"], least),
        "energy": "not known for this board" if energy is None else f"{least}{energy:.2f} mJ",
        "fits": f"{verdict(described['fits'])} ({_used(described)})",
    }
    if described["listening"]:
        totals["listening"] = listening_text(described["listening"])
    if described["engine"] != TFLM:
        totals["engine"] = described["engine"]
    if described["arena_assumes"]:
        totals["arena planned for"] = described["arena_assumes"]
    if described["device"]["code_assumes"]:
        totals["code measured for"] = described["device"]["code_assumes"]
    if labels := (described.get("metadata") or {}).get("labels"):
        totals["labels"] = ", ".join(labels)
    drop = ("stride", "kernel", "weights", "output", "op")
    lines = [table(header, rows, width=width, drop=drop), "", pairs(totals, width=width)]
    if excluded:
        times = {name: f" x{number}" for name, number in described["unknown_ops"].items()}
        lines.append(f"not counted: {', '.join(name + times.get(name, '') for name in excluded)}")
    lines += [_pooling(each) for each in described["pooling"]]
    if described.get("paper"):
        lines.append(_paper(described["paper"]))
    if any("extrapolated" in layer["flags"] for layer in described["layers"]):
        lines.append("extrapolated: no such operator was measured on this board; priced from above")
    if any("plain loop" in layer["flags"] for layer in described["layers"]):
        lines.append("plain loop: the engine has no fast kernel for it; TFLM may be faster")
    if described["int4_layers"]:
        lines.append(
            "int4 weights: only the 64-bit host unpacks whole filters; SRAM is judged on the board"
        )
    if described.get("boards"):
        lines += ["", boards_table(described["boards"], width=width)]
    return "\n".join(lines)


def listening_text(calls: Mapping[str, Any]) -> str:
    """Return a line about the calls of a network that listens."""
    frames, stride = calls["hop_frames"], calls["stride_frames"]
    parts = [f"{frames} frame{'s' * (frames > 1)} a call computes {calls['computes']}"]
    if stride is not None:
        parts.append(f"scores every {stride}")
    worst = f" (worst {calls['worst_ms']:.2f})" if calls["worst_ms"] > calls["mean_ms"] else ""
    parts.append(f"without the front end {calls['mean_ms']:.2f} ms{worst}")
    if "arena_bytes" in calls:
        parts.append(f"arena {calls['arena_bytes']:,} B, {calls['state_bytes']:,} B kept")
    if calls["load"] is not None:
        parts.append(f"load {format_cost('load', calls['load'])}")
    if calls["energy_j_per_hour"] is not None:
        parts.append(format_cost("energy", calls["energy_j_per_hour"]))
    return ", ".join(parts)


def boards_table(boards: Sequence[Mapping[str, Any]], *, width: int | None = None) -> str:
    """Return a table of boards: whether a network fits, and the costs of one inference."""
    rows = [
        [
            each["board"],
            verdict(each["fits"], each["fits_estimates"]),
            f"{each['latency_ms']:.1f} ms",
            _known(each["latency_status"], each["latency_within"]),
            "-" if each["energy_mj"] is None else f"{each['energy_mj']:.2f} mJ",
            _arena_of(each),
        ]
        for each in boards
    ]
    header = ["board", "fits", "latency", "latency is", "energy", "arena"]
    return table(header, rows, width=width, drop=("arena", "energy"))


def known_boards_table(boards: Sequence[Mapping[str, Any]], *, width: int | None = None) -> str:
    """Return a table of boards' limits and of the errors of their latency."""
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
                _error(mean, worst, latency["status"], latency["within"]),
                "-" if board["power_mw"] is None else f"{board['power_mw']:.0f} mW",
                latency["form"],
                str(latency["networks"]),
                board["kernels"],
                _arena_of(board),
            ]
        )
    header = ["board", "core", "SRAM", "flash", "clock", "latency off by", "power"]
    drop = ("arena", "measured with", "networks", "latency by", "power", "clock")
    return table(
        [*header, "latency by", "networks", "measured with", "arena"], rows, width=width, drop=drop
    )


def board_notes(board: Mapping[str, Any], *, width: int | None = None) -> str:
    """Return the names and sources of a board."""
    latency = board["latency"]
    sources = {"sizes": board["source"], "latency": latency["source"], "status": latency["status"]}
    like = {"like": board["like"]} if board["like"] else {}
    names = {"also called": board["names"]} if board["names"] else {}
    return pairs({**names, **like, **sources}, width=width)


def _error(
    mean: float | None, worst: float | None, status: str, within: Sequence[float] | None
) -> str:
    """Return mean and worst error of left-out networks, with the status unless validated."""
    if mean is None or within is not None:
        return _known(status, within)
    doubt = "" if status == "validated" else f", {_known(status, within)}"
    return f"{mean:.0f} / {worst:.0f} %{doubt}"


def _known(status: str, within: Sequence[float] | None) -> str:
    """Return a status without its remark, and the factors of an estimate."""
    factors = f" x {within[0]:.1f}-{within[1]:.1f}" if within else ""
    return f"{status.partition(',')[0]}{factors}"


def _device(device: Mapping[str, Any], least: str) -> str:
    """Return a line about the whole device's costs."""
    front = device["front_end"]
    with_it = "no front end known"
    if front is not None:
        with_it = (
            f"front end {front['kind']}: {front['buffer_bytes']:,} B of SRAM, "
            f"{front['flash_bytes']:,} B of flash, {front['step_ms']:.2f} ms a step"
        )
    about = "an estimated " if device["code_assumes"] else ""
    return (
        f"SRAM {device['sram_bytes']:,} B, flash {about}{device['flash_bytes']:,} B (runtime code "
        f"{about}{device['code_bytes']:,} B), {least}{device['latency_ms']:.1f} ms; {with_it}"
    )


def _used(described: Mapping[str, Any]) -> str:
    """Return each limit and its used share."""
    used, estimated = described["used"], described["fits_estimates"]
    return ", ".join(
        f"{name} {100 * used[name]:.0f} % of {format_cost(name, limit)}"
        f"{', estimated' * (name in estimated)}"
        for name, limit in described["budget"].items()
    )


def _arena_of(board: Mapping[str, Any]) -> str:
    """Return what a board's arena assumes, or how exact it is."""
    exact = "upper bound" if board["arena_is_upper_bound"] else "exact"
    return board["arena_assumes"] or exact


def _doubt(described: Mapping[str, Any]) -> str:
    """Return the status of a latency that is not validated, with an estimate's factors."""
    status, within = described["latency_status"], described["latency_within"]
    factors = f", boards lay at {within[0]:.1f} to {within[1]:.1f} times such" if within else ""
    return "" if status == "validated" else f" ({status}{factors})"


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
        f"{compared['mean_instructions']:,} of MEAN alone{unit}"
    )
    if compared["op"] == "MEAN" and compared["parts"] == [1, 1]:
        return f"{compared['layer']}: AVERAGE_POOL_2D would take {both}"
    if compared["op"] == "MEAN":
        window = _size(compared["window"])
        return f"{compared['layer']}: AVERAGE_POOL_2D of {window}, then MEAN, would take {both}"
    return f"{compared['layer']}: AVERAGE_POOL_2D takes {both}"


def _interface(tensors: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{each['name']} {_size(each['shape'])}" for each in tensors)


def _size(sizes: Sequence[int] | None) -> str:
    return "-" if sizes is None else "x".join(map(str, sizes))


def verdict(fits: bool | None, estimates: Sequence[str] = ()) -> str:
    """Return whether a network fits, and the limits judged by estimates."""
    text = "not known" if fits is None else str(fits).lower()
    return f"{text} ({', '.join(estimates)} estimated)" if estimates else text
