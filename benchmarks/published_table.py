"""The published networks that ship as architecture files, our figures beside the paper's.

    python -m benchmarks.published_table

SRAM is TFLM's arena on a 64-bit host. Latencies are by each board's default model; the boards'
models were fitted to these very measurements, so that their errors here are not errors of
prediction: those are what ``python -m benchmarks.fit_boards`` prints.
"""

from micronas.graph.counts import count
from micronas.hardware.board import Board
from micronas.hardware.targets import CMSIS_NN, HOST
from micronas.space.published import Row, paper_ops
from micronas.space.published import table as paper_table
from micronas.space.space import Space
from micronas.text import table

BOARDS = {
    "stm32f446re": "S: F446RE ms",
    "stm32f746zg": "M: F746ZG ms",
    "stm32f767zi": "L: F767ZI ms",
}
"""The paper's three boards, and their columns."""


def row(name: str, paper: Row) -> list[str]:
    """One line of the table."""
    graph = Space.load(f"published/{name}").graph()
    counts = CMSIS_NN.features(graph)
    latencies = [
        f"{Board.load(board).latency_ms(counts, space=paper['family']):.0f} / "
        f"{paper[f'{board}_ms'] or '-'}"
        for board in BOARDS
    ]
    return [
        name,
        f"{paper_ops(graph) / 1e6:.2f} / {paper['mops']}",
        f"{count(graph).macs / 1e6:.3f}",
        f"{HOST.plan(graph).total / 1e3:.1f} / {paper['sram_kb']}",
        *latencies,
    ]


def main() -> None:
    header = ["ours / paper", "Mops", "MMACs", "arena / SRAM KB", *BOARDS.values()]
    print(table(header, [row(name, paper) for name, paper in paper_table().items()]))
    print("* the paper's estimate; - not measured")


if __name__ == "__main__":
    main()
