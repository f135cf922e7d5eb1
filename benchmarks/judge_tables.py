"""Reproduce Arena-Hard's own figures of benchmark quality from its published bootstraps.

    python -m benchmarks.judge_tables FOLDER

FOLDER holds the files of ``notebook/`` of lmarena/arena-hard-auto at commit bd52a78 (Apache-2.0):
bootstraps of Arena-Hard, AlpacaEval 2 (LC) and MT-Bench, and ratings of Chatbot Arena. Prints the
figures on the twenty models that all of them share, and on all models of each.
"""

from pathlib import Path

from micronas.judge.quality import Quality, quality
from micronas.text import table
from testing.arena_hard import load_arena, load_bootstrap, shared
from testing.usage import given

FILES = {
    "Arena-Hard": "arena_hard",
    "AlpacaEval 2 LC": "alpaca_LC",
    "AlpacaEval 2": "alpaca",
    "MT-Bench": "mt_bench",
    "Arena, 20k votes": "20k_votes",
    "Arena, 20k votes (Elo)": "20k_votes_elo",
    "Arena-Hard BT": "arena_hard_bt",
    "Arena like Arena-Hard": "arena_hard_distribution_elo",
}


def main(folder: Path) -> None:
    arena = load_arena(folder)
    rows = []
    for title, name in FILES.items():
        if not name.endswith("distribution_elo"):
            row = quality(shared(folder, name), arena, convention="arena-hard")
            rows.append([title, *_cells(row, quality(shared(folder, name, 0.8)))])
    names = shared(folder, "arena_hard").models
    rows.append(["Arena itself", *_cells(quality(arena.of_models(names)), None)])
    for title, name in FILES.items():
        row, narrow = (quality(load_bootstrap(folder, name, level)) for level in (0.95, 0.8))
        rows.append([f"{title}, all", *_cells(row, narrow)])
    rows.append(["Arena itself, all", *_cells(quality(arena), None)])
    header = ["benchmark", "models", "separability", "at 80 %", "strict", "agreement"]
    print(table([*header, "Spearman", "Kendall", "Brier", "log-loss"], rows))


def _cells(row: Quality, narrow: Quality | None) -> list[str]:
    figures = (row.spearman, row.kendall, row.brier, row.log_loss)
    shares = (row.separability, narrow and narrow.separability)
    return [
        str(row.models),
        *("" if each is None else str(each) for each in shares),
        *(
            "" if each is None else f"{each.value:.6f} of {each.pairs}"
            for each in (row.strict_agreement, row.agreement)
        ),
        *("" if each is None else f"{each:.6f}" for each in figures),
    ]


if __name__ == "__main__":
    main(Path(given(__doc__, 1)[0]))
