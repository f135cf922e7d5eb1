"""Pools of prompts by category, drawn evenly or by earlier verdicts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from micronas.errors import DataError
from micronas.files import text_hash
from micronas.judge.choose import Outcomes, discriminating, expected
from micronas.judge.cleaning import normalise
from micronas.judge.recipe import Recipe, Sampling
from micronas.judge.rows import VerdictRow
from micronas.judge.sample import draw, quality, seeded, shares
from micronas.judge.sources import Record
from micronas.judge.store import prompts_of, verdicts_of
from micronas.language.embedders import Vectors
from micronas.settings import nearest


@dataclass(frozen=True)
class Pools:
    """Prompts of sufficient quality by category, and the quota of each language.

    ``good`` are the ids of all of them.
    """

    recipe: Recipe
    prompts: dict[str, list[Record]]
    quotas: dict[str, dict[str, int]]
    good: frozenset[str]

    @classmethod
    def of(cls, records: list[Record], recipe: Recipe) -> "Pools":
        """Divide labelled prompts.

        Raises DataError if quotas cannot be met; names them all.
        """
        sampling = recipe.sampling
        good = [record for record in records if quality(record.text) >= sampling.min_quality]
        prompts = {
            name: [record for record in good if record.category == name]
            for name in recipe.categories
        }
        quotas: dict[str, dict[str, int]] = {}
        short: list[str] = []
        for name, category in recipe.categories.items():
            languages = [record.language for record in prompts[name]]
            accept = sampling.shortage == "accept"
            try:
                quotas[name] = shares(languages, name, category, accept_shortage=accept)
            except DataError as error:
                short.append(str(error))
        if short:
            raise DataError("; ".join(short))
        return cls(recipe, prompts, quotas, frozenset(record.id for record in good))

    def evenly(self, vectors: Callable[[list[Record]], Vectors]) -> set[str]:
        """Draw evenly over clusters of vectors; return ids."""
        drawn: set[str] = set()
        for name, pool in self.prompts.items():
            chosen = draw(
                [record.id for record in pool],
                [record.language for record in pool],
                vectors(pool),
                self.quotas[name],
                cluster_count=self.recipe.sampling.clusters,
                seed=self.recipe.seed,
            )
            drawn.update(pool[index].id for index in chosen)
        return drawn

    def discriminating(self, earlier: Outcomes) -> tuple[set[str], int]:
        """Choose by outcomes under hashes of texts; return ids and the number of judged prompts.

        Raises DataError if no prompt of the pools was judged.
        """
        strata = [(name, language) for name, each in self.quotas.items() for language in each]
        pool = sorted(
            (
                record
                for each in self.prompts.values()
                for record in each
                if (record.category, record.language) in strata
            ),
            key=lambda record: seeded(record.id, self.recipe.seed),
        )
        won = earlier.on([text_hash(record.text) for record in pool]).won
        judged = int((~np.isnan(won)).any(axis=1).sum())
        if not judged:
            raise DataError(
                "sampling.judged must hold verdicts on prompts of the sources, but no prompt of "
                "theirs has the text of one; leave it out, or give runs on these sources"
            )
        chosen = discriminating(
            expected(won),
            np.array([strata.index((record.category, record.language)) for record in pool]),
            np.array([self.quotas[name][language] for name, language in strata]),
        )
        return {pool[index].id for index in chosen}, judged


def earlier_outcomes(sampling: Sampling, folder: Path) -> Outcomes | None:
    """Return the outcomes of earlier judge runs, by hash of a prompt's text; None without runs.

    Raises DataError if a run cannot be read, a model to leave out is in no run, or fewer than two
    are left.
    """
    rows: list[VerdictRow] = []
    for path in sampling.judged:
        texts = {each.id: text_hash(normalise(each.text)) for each in prompts_of(folder / path)}
        rows += [
            replace(row, prompt_id=texts.get(row.prompt_id, row.prompt_id))
            for row in verdicts_of(folder / path)
        ]
    known = {name for row in rows for name in (row.model, row.baseline)}
    for name in sampling.compared:
        if name not in known:
            raise DataError(
                f"no verdict of sampling.judged is on the model {name!r} of sampling.compared; "
                f"{nearest(name, known)}"
            )
    return Outcomes.of(rows, sampling.compared) if sampling.judged else None
