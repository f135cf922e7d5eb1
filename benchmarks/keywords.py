"""Print accuracies of keyword searches, keywords apart from silence and unknown.

micronas search kws board=stm32f446re budget.latency=150ms data.path=FOLDER --out RUN
python -m benchmarks.keywords RUN [RUN ...]
"""

import json
import sys
from pathlib import Path
from statistics import fmean

from micronas.quantities import format_bytes, format_macs
from micronas.text import percent, table


def row(run: Path) -> list[str]:
    """One line for one run folder."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    classes = metrics["int8_accuracy_per_class"]
    keywords = [value for name, value in classes.items() if name not in ("silence", "unknown")]
    return [
        metrics["network"],
        percent(metrics["float_accuracy"]),
        percent(metrics["int8_accuracy"]),
        percent(fmean(keywords)),
        format_macs(metrics["macs"]),
        format_bytes(metrics["flash_bytes"]),
        format_bytes(metrics["arena_bytes"]),
        f"{metrics['latency_ms']:.0f} ms",
        str(metrics["tflm_mismatches"]),
        metrics["search"]["winner"],
    ]


if __name__ == "__main__":
    header = ["network", "float", "int8", "keywords", "MACs", "flash", "arena", "latency"]
    runs = [row(Path(argument)) for argument in sys.argv[1:]]
    print(table([*header, "mismatches", "winner"], runs))
