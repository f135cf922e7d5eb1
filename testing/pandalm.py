"""PandaLM's test set: pairs with labels of three people, and what two judges said of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from micronas.judge.importers import Imported, imported, json_list
from micronas.judge.rows import Answer, StoredPrompt
from micronas.language.endpoints import estimate_tokens

_LABELS = {"1": "A>B", "2": "B>A", "0": "A=B", "Tie": "A=B"}


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
    pairs: dict[int, tuple[str, str, str]] = {}

    def take_pair(row: Any, found: Imported) -> None:
        prompt, (first, _, second) = str(row["idx"]), row["cmp_key"].partition("_")
        pairs[row["idx"]] = (prompt, first, second)
        text = f"{row['instruction']}\n\n{row['input']}".strip()
        found.prompts.append(StoredPrompt(prompt, text, row["motivation_app"]))
        for name, key in ((first, "response1"), (second, "response2")):
            answer = str(row[key])  # some are JSON booleans
            found.answers.append(Answer(prompt, name, answer, estimate_tokens(answer)))
        for key in row:
            if key.startswith("annotator"):
                found.add(pairs[row["idx"]], "first", key, _LABELS.get(str(row[key])))

    whole = imported("PandaLM", testset, json_list(testset), take_pair)
    for judge, path in (judges or {}).items():

        def take_result(row: Any, found: Imported, judge: str = judge) -> None:
            (result,) = (key for key in row if key.endswith("_result"))
            reason = row.get(result.removesuffix("_result") + "_reason")
            found.add(pairs[row["idx"]], "first", judge, _LABELS.get(str(row[result])), reason)

        whole.verdicts.extend(imported("PandaLM", path, json_list(path), take_result).verdicts)
    return whole
