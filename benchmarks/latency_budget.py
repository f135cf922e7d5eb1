"""Networks found under a latency budget, by each form of latency model.

    micronas search kws board=stm32f446re budget.latency=100ms data.path=... --out runs/default
    micronas search kws board=stm32f446re budget.latency=100ms latency_form=ops data.path=... \
        --out runs/ops
    python -m benchmarks.latency_budget runs/default runs/ops

Prints accuracy and costs of each run's network, and its latency by every form the board has.
"""

import json
import sys
from pathlib import Path

from micronas.hardware.board import Board
from micronas.hardware.targets import CMSIS_NN
from micronas.runs.folder import model_file
from micronas.runs.settings import load_run
from micronas.space.load import load
from micronas.text import percent, table


def main(folders: list[Path]) -> None:
    rows, forms = [], ("ops", "terms", "instructions")
    for folder in folders:
        metrics = json.loads((folder / "metrics.json").read_text())
        space = load_run(folder / "config.yaml").load_space()
        counts = CMSIS_NN.features(load(model_file(folder)).graph)
        board = Board.load(metrics["board"])
        latencies = {form: board.using(form).latency_ms(counts, space=space.kind) for form in forms}
        rows.append(
            [
                metrics["latency_form"],
                metrics["network"],
                f"{metrics['macs'] / 1e6:.2f}",
                percent(metrics["int8_accuracy"]),
                *(f"{latencies[form]:.1f} ms" for form in forms),
            ]
        )
    print(table(["searched by", "network", "MMACs", "int8", *forms], rows))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
