"""Settings of an evaluation set, from sources to sampling.

Details that the paper (arXiv 2408.08808) leaves open are values here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from micronas.language.embedders import Embedder, EndpointEmbedding, WordLlama, tfidf
from micronas.settings import Settings, read_settings

_DEFAULT_RECIPE = Path(__file__).parent / "recipes" / "default.yaml"

_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=1)]


class Source(Settings):
    """One file of prompts: JSON lines or CSV, plain or gzipped."""

    path: Path
    """Path relative to the recipe's folder."""
    name: str = ""
    """Prefix of the ids of its prompts; by default the file's name up to the first dot."""
    text: str = "text"
    """Field of the prompt's text; dots lead into objects and lists (``turns.0``)."""
    id: str | None = None
    """Field of the id; by default the line number is the id."""
    licence: str | None = None
    """Licence of every prompt of the file."""
    licence_field: str | None = None
    """Field of each prompt's licence."""
    language: str | None = None
    """Field of the language code; by default languages are identified."""
    category: str | None = None
    """Field of a category known to be right, whose prompts are seeds of the labelling."""
    category_names: dict[str, str] | None = None
    """Category of each value of the field; other values give no category."""

    @model_validator(mode="after")
    def _one_licence(self) -> "Source":
        if (self.licence is None) == (self.licence_field is None):
            raise ValueError("a source needs either licence or licence_field")
        return self

    @property
    def title(self) -> str:
        """Name, or its default."""
        return self.name or self.path.name.split(".")[0]


class Cleaning(Settings):
    """Limits on the texts that are kept as prompts."""

    min_characters: _Count = 16
    max_characters: _Count = 8000
    min_letters: _Share = 0.3
    """Least share of letters and digits among characters that are not blank."""
    max_repetition: _Share = 0.85
    """Largest share of a text that compression removes; a repeated line exceeds it."""
    personal: Literal["drop", "mask", "keep"] = "mask"
    """Treatment of e-mail addresses, telephone and card numbers."""
    licences: tuple[str, ...] = ()
    """Accepted licences; by default any stated one."""


class Languages(Settings):
    """Identification of languages."""

    expected: tuple[str, ...] = ("en",)
    """ISO 639-1 codes to choose from; those of the categories are added."""
    min_confidence: _Share = 0.0
    """Least confidence; below it the language is ``und``."""
    max_characters: _Count = 1000
    """Number of characters of a prompt that are examined."""


class Duplicates(Settings):
    """Detection of duplicate prompts."""

    threshold: _Share = 0.7
    """Least weighted Jaccard similarity of character n-grams."""
    characters: _Count = 4
    """Length of an n-gram."""
    same_numbers: bool = True
    """Keep prompts that differ in a number or operator, such as sums of a textbook."""


class Embedding(EndpointEmbedding):
    """Embedding of texts as vectors."""

    kind: Literal["tfidf", "wordllama", "endpoint"] = "tfidf"
    words: tuple[_Count, ...] = (1, 2)
    """Lengths of word n-grams of ``tfidf``."""
    dimensions: _Count = 2**18
    """Hash buckets of ``tfidf``."""

    def embedder(self, cache: Path) -> Embedder:
        """Return the embedder; only an endpoint's vectors are kept in the cache file."""
        if self.kind == "wordllama":
            return WordLlama()
        if self.kind == "endpoint":
            return self.endpoint(cache)
        return partial(tfidf, words=self.words, dimensions=self.dimensions)


class Labelling(Settings):
    """Labelling of prompts from those whose category is known."""

    labels: tuple[Path, ...] = ()
    """CSV files with columns ``id`` and ``category``, relative to the recipe's folder."""
    neighbours: tuple[_Count, ...] = (5, 10, 20, 40)
    """Values to cross-validate."""
    prior: Literal["seed", "uniform", "estimated"] = "estimated"
    """Shares of categories among unlabelled prompts: those of the seeds, equal ones, or estimated
    from the votes."""
    precision: _Share = 0.9
    """Wanted cross-validated accuracy of the kept labels, which sets the entropy threshold."""
    threshold: _Share | None = None
    """Entropy of votes (1 is even) above which a label is uncertain, in place of `precision`."""
    uncertain: Literal["general", "review"] = "general"
    """Treatment of uncertain prompts: category `general`, or the review file."""
    general: str = "general"
    """Category of uncertain prompts."""
    folds: Annotated[int, Field(ge=2)] = 5


class Category(Settings):
    """One category of the evaluation set."""

    quota: Annotated[int, Field(ge=0)]
    """Number of prompts to draw."""
    language: str | None = None
    """Language whose unlabelled prompts all get this category."""
    languages: dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Ratio of languages inside the category; by default as they occur."""


class Sampling(Settings):
    """Drawing of prompts within a category."""

    clusters: _Count = 8
    """Number of clusters in each category and language, over which prompts are drawn evenly."""
    judged: tuple[Path, ...] = ()
    """Earlier judge runs, relative to the recipe's folder. With them, prompts that separate models
    are chosen instead, over all categories at once."""
    compared: tuple[str, ...] = ()
    """Models to leave out of that choice, because the set will compare them."""
    min_quality: _Share = 0.3
    """Least quality score of a prompt; see `micronas.judge.sample.quality`."""
    shortage: Literal["error", "accept"] = "error"
    """Treatment of a category with fewer prompts than its quota."""


class Recipe(Settings):
    """Recipe of an evaluation set; the same recipe and files give the same bytes."""

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    sources: tuple[Source, ...] = ()
    cleaning: Cleaning = Cleaning()
    languages: Languages = Languages()
    duplicates: Duplicates = Duplicates()
    embedding: Embedding = Embedding()
    labelling: Labelling = Labelling()
    categories: Annotated[dict[str, Category], Field(min_length=1)]
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.labelling.general not in self.categories:
            name = self.labelling.general
            raise ValueError(
                f"labelling.general is {name!r}, which must be one of the categories; add it, as "
                f"`{name}: {{quota: 0}}`"
            )
        codes = [each.language for each in self.categories.values() if each.language]
        if len(set(codes)) != len(codes):
            raise ValueError("a language must have one category only")
        titles = [source.title for source in self.sources]
        if len(set(titles)) != len(titles):
            raise ValueError("sources must have different names; set name")
        for source in self.sources:
            for category in (source.category_names or {}).values():
                if category not in self.categories:
                    raise ValueError(
                        f"category_names of {source.title} must lead to categories: {category!r}"
                    )
        return self

    @property
    def language_categories(self) -> dict[str, str]:
        """Categories by language."""
        return {each.language: name for name, each in self.categories.items() if each.language}


@dataclass(frozen=True)
class RecipeFile:
    """A recipe and the folder of its relative paths."""

    recipe: Recipe
    folder: Path


def read_recipe(path: Path | None = None, overrides: Iterable[str] = ()) -> RecipeFile:
    """Read a recipe; by default the one of 14 categories, with paths from the working folder.

    Raises ConfigError if the file is not a recipe, in one line with file, line and key.
    """
    recipe = read_settings(path or _DEFAULT_RECIPE, Recipe, overrides)
    return RecipeFile(recipe, path.parent if path else Path())
