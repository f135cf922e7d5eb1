"""The table of the zoo, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Line = dict[str, Any]

OWN = ("micronas", "micronas-tuned")
_MOST_LAYOUT, _LEAST_DB = 2, -1.0


def markdown(lines: Iterable[Line], names: Sequence[str]) -> str:
    """A row for each network, and a summary of each exporter.

    A cell is the SQNR in dB on TFLM, then what is amiss: M, R and P count the operators that move
    elements (TRANSPOSE, GATHER, SLICE, SPLIT), RESHAPE and PAD that the torch module does not have
    itself, f operators in float, w weights that had to be moved into the file. Bytes and CPU
    seconds follow. Layout operators are M and R: a PAD adds zeros that torch adds too.
    """
    found = {(line["network"], line["exporter"]): line for line in lines}
    exporters = [*dict.fromkeys(exporter for _, exporter in found)]
    head = ["network", *exporters]
    rows = [
        [name, *(_cell(found.get((name, exporter))) for exporter in exporters)] for name in names
    ]
    return "\n".join(
        [
            _row(head),
            _row(["---"] * len(head)),
            *map(_row, rows),
            "",
            *(
                _summary(exporter, [line for (_, own), line in found.items() if own == exporter])
                for exporter in exporters
            ),
            *(_beside_peers(own, found, names) for own in exporters if own in OWN),
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(line: Line | None) -> str:
    if line is None:
        return ""
    if "error" in line:
        return "refused"
    size = f"{line['bytes'] / 1000:.0f} kB, {line['seconds']:.1f} s"
    if not line["runs"]:
        return f"not by TFLM; {size}"
    layout = line["layout"]
    marks = [f"{kind[0].upper()}{count}" for kind, count in layout.items() if count]
    marks += [f"f{line['float_operators']}"] * bool(line["float_operators"])
    marks += ["w"] * ("as_written" in line)
    differing = line.get("differing_bytes")
    marks += [] if differing is None else [f"{differing} B differ"]
    return " ".join([f"{line['sqnr_db']:.1f}", *marks]) + f"; {size}"


def _summary(exporter: str, lines: Sequence[Line]) -> str:
    files = [line for line in lines if "error" not in line]
    run = [line for line in files if line["runs"]]
    good = [line for line in run if line["sqnr_db"] > 10]
    as_written = [line for line in run if line.get("as_written", line)["runs"]]
    moved = sum(map(_keeps_layout, run))
    exact = [line for line in run if line.get("differing_bytes") == 0]
    said = (
        f"{exporter}: {len(lines)} networks, {len(files)} files, {len(run)} run on TFLM "
        f"({len(as_written)} as written), {len(good)} of them over 10 dB, {moved} with at most two "
        f"layout operators, {sum(line['seconds'] for line in files):.0f} CPU s"
    )
    return f"- {said}, {len(exact)} without a differing byte" if exact else f"- {said}"


def _keeps_layout(line: Line) -> bool:
    return bool(line["layout"]["move"] + line["layout"]["reshape"] <= _MOST_LAYOUT)


def _beside_peers(own: str, found: Mapping[tuple[str, str], Line], names: Sequence[str]) -> str:
    """How many networks are exact, keep their layout and are near the better peer."""
    peers = {exporter for _, exporter in found} - {*OWN}
    passed, beside, short = 0, 0, []
    for name in names:
        line = found.get((name, own), {})
        if not line.get("runs"):
            continue
        others = [found.get((name, peer), {}) for peer in peers]
        best = max((each["sqnr_db"] for each in others if each.get("runs")), default=None)
        beside += best is not None
        if best is not None and line["sqnr_db"] - best < _LEAST_DB:
            short.append(f"{name} ({line['sqnr_db']:.1f}, {best:.1f})")
        else:
            passed += _keeps_layout(line) and line["differing_bytes"] == 0
    return (
        f"- {own}, with no wrong byte, at most {_MOST_LAYOUT} layout operators and at most "
        f"{-_LEAST_DB:.0f} dB under the better peer: {passed}; a peer runs {beside} of those that "
        f"run; short of it: {', '.join(short) or 'none'}"
    )
