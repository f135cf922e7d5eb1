"""Make tables of scores out of results that other projects publish, for `router_heldout`.

    python -m benchmarks.router_tables alpaca-eval RESULTS_FOLDER OUT_FOLDER
    python -m benchmarks.router_tables routellm EVALS_FOLDER OUT_FOLDER

alpaca-eval: what AlpacaEval's first annotator (``alpaca_eval_gpt4``) preferred on 805 prompts, the
share of a point won from text_davinci_003, for the models that say their size in their names and
give one answer; tasks are the five sources of the prompts. routellm: whether Mixtral-8x7B and GPT-4
answered questions of MMLU (every fourth one) and GSM8K rightly; tasks are the subjects. The size of
GPT-4 is not known: the two count one and two billion, and 1.2 is a fifth of strong calls.
"""

import argparse
import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

Row = tuple[str, str, Mapping[str, float]]
"""Prompt, task and scores."""
_SIZE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)b", re.IGNORECASE)
_SIZES = {"phi-2": 2.7, "phi-2-sft": 2.7, "phi-2-dpo": 2.7}
_SEVERAL = re.compile("pairrm|best-of|RAHF")
"""Names of systems that draw several answers, or are several models."""
_EACH = 4
_PAIR = {"mistralai/Mixtral-8x7B-Instruct-v0.1": 1.0, "gpt-4-1106-preview": 2.0}


def alpaca_eval(folder: Path) -> tuple[dict[str, float], list[Row]]:
    sizes: dict[str, float] = {}
    scores: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for path in sorted(folder.rglob("annotations.json")):
        (name,) = path.relative_to(folder).parts[:1]
        found = _SIZE.search(name)
        size = _SIZES.get(name) or (float(found[1]) if found else None)
        rows = json.loads(path.read_text(encoding="utf-8"))
        annotators = {row.get("annotator") for row in rows}
        if size is None or _SEVERAL.search(name) or annotators != {"alpaca_eval_gpt4"}:
            continue
        sizes[name] = size
        for row in rows:
            if row["preference"] is not None:
                share = row["preference"] - 1 if row["preference"] else 0.5
                won = share if row["generator_1"] == "text_davinci_003" else 1 - share
                scores[row["instruction"], row["dataset"]][name] = won
    return sizes, [(prompt, task, each) for (prompt, task), each in scores.items()]


def routellm(folder: Path) -> tuple[dict[str, float], list[Row]]:
    def questions() -> Iterator[tuple[str, dict[str, str]]]:
        csv.field_size_limit(2**24)
        for path in sorted(folder.rglob("*.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                every = _EACH if "mmlu" in path.name else 1
                for number, row in enumerate(csv.DictReader(file)):
                    if number % every == 0:
                        yield path.stem.removesuffix("_responses"), row

    rows: dict[str, Row] = {}
    for task, row in questions():
        scores = {name: float(row[name] == "True") for name in _PAIR}
        rows.setdefault(row["prompt"], (row["prompt"], task, scores))
    return _PAIR, list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", choices=("alpaca-eval", "routellm"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    read = alpaca_eval if arguments.source == "alpaca-eval" else routellm
    sizes, rows = read(arguments.folder)
    complete = [row for row in rows if row[2].keys() == sizes.keys()]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "scores.jsonl").open("w", encoding="utf-8") as file:
        for prompt, task, scores in complete:
            line = {"prompt": prompt, "task": task, "scores": dict(scores)}
            file.write(json.dumps(line) + "\n")
    lines = ["model,params_billion", *(f"{name},{size:g}" for name, size in sizes.items())]
    (arguments.out / "models.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tasks = len({task for _, task, _ in complete})
    print(f"{len(complete)} of {len(rows)} prompts, {tasks} tasks, {len(sizes)} models")


if __name__ == "__main__":
    main()
