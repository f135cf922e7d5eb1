"""PandaLM's test set: pairs with labels of three people, and what two judges said of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from micronas.judge.importers import SHARE, Imported, json_list, unexpected
from micronas.judge.rows import Answer, StoredPrompt, VerdictRow
from micronas.judge.verdict import Winner
from micronas.language.endpoints import estimate_tokens

_PLACES: dict[Any, Winner] = {"1": "A", "2": "B", "0": "tie", "Tie": "tie"}


def pandalm(testset: Path, judges: Mapping[str, Path] | None = None) -> Imported:
    """Read PandaLM's test set with its human labels, and judges' results on it.

    The human labels become judges named as in the file (``annotator1`` ...).

    Parameters
    ----------
    testset
        ``testset-v1.json``.
    judges
        Files of results by the name to give the judge, e.g. ``gpt-3.5-turbo-testset-v1.json``.

    Raises
    ------
    DataError
        If a file is not of this form, or judges something that the test set does not hold.
    """
    verdicts: list[VerdictRow] = []
    answers: dict[tuple[str, str], Answer] = {}
    prompts: list[StoredPrompt] = []
    pairs: dict[int, tuple[str, str]] = {}

    def add(idx: int, judge: str, label: object, reason: str = "") -> None:
        winner = _PLACES.get(str(label))
        model, baseline = pairs[idx]
        verdicts.append(
            VerdictRow(
                prompt_id=str(idx),
                model=model,
                baseline=baseline,
                order="first",
                judge=judge,
                verdict=winner,
                outcome=SHARE[winner] if winner else None,
                raw=reason,
            )
        )

    for number, row in enumerate(json_list(testset), 1):
        try:
            idx = row["idx"]
            first, _, second = row["cmp_key"].partition("_")
            pairs[idx] = (first, second)
            text = f"{row['instruction']}\n\n{row['input']}".strip()
            prompts.append(StoredPrompt(str(idx), text, row["motivation_app"]))
            for name, key in ((first, "response1"), (second, "response2")):
                answer = str(row[key])  # some are JSON booleans
                answers[str(idx), name] = Answer(str(idx), name, answer, estimate_tokens(answer))
            for key in row:
                if key.startswith("annotator"):
                    add(idx, key, row[key])
        except (LookupError, TypeError, AttributeError) as error:
            raise unexpected("PandaLM", testset, number, error) from error
    for judge, path in (judges or {}).items():
        for number, row in enumerate(json_list(path), 1):
            try:
                result = next(key for key in row if key.endswith("_result"))
                reason = row.get(result.removesuffix("_result") + "_reason") or ""
                add(row["idx"], judge, row[result], reason)
            except (LookupError, StopIteration, TypeError, AttributeError) as error:
                raise unexpected("PandaLM", path, number, error) from error
    return Imported(verdicts, list(answers.values()), prompts)
