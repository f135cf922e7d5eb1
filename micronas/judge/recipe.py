"""Settings of an evaluation set: where prompts come from and how they become the set.

What the paper (arXiv 2408.08808) leaves unstated is a value here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from micronas.language.endpoints import BaseUrl
from micronas.settings import Settings, read_settings

_DEFAULT_RECIPE = Path(__file__).parent / "recipes" / "default.yaml"

_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=1)]


class Source(Settings):
    """One file of prompts: JSON lines or CSV, as it is or gzipped."""

    path: Path
    """Relative to the recipe's folder."""
    name: str = ""
    """Begins the ids of its prompts; the file's name up to the first dot when empty."""
    text: str = "text"
    """Field of the prompt's text; dots lead into objects and lists (``turns.0``)."""
    id: str | None = None
    """Field of the id; the line number without it."""
    licence: str | None = None
    """Licence of every prompt of the file."""
    licence_field: str | None = None
    """Field that holds each prompt's licence."""
    language: str | None = None
    """Field of the language code; languages are identified without it."""
    category: str | None = None
    """Field of a category known to be right: such prompts are seeds of the labelling."""
    category_names: dict[str, str] | None = None
    """Category of each value of the field; values that are not listed are unknown."""

    @model_validator(mode="after")
    def _one_licence(self) -> "Source":
        if (self.licence is None) == (self.licence_field is None):
            raise ValueError("a source needs either licence or licence_field")
        return self

    @property
    def title(self) -> str:
        """The name, or what stands for it."""
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
    """Licences that may be used; any stated licence when empty."""


class Languages(Settings):
    """Identification of languages."""

    expected: tuple[str, ...] = ("en",)
    """ISO 639-1 codes to choose from; those of the categories are added."""
    min_confidence: _Share = 0.0
    """Below it the language is ``und``."""
    max_characters: _Count = 1000
    """Characters of a prompt that are looked at."""


class Duplicates(Settings):
    """When two prompts are the same."""

    threshold: _Share = 0.7
    """Least weighted Jaccard similarity of character n-grams."""
    characters: _Count = 4
    """Length of an n-gram."""
    same_numbers: bool = True
    """Whether prompts that differ in a number or operator stay apart, as sums of a textbook do."""


class Embedding(Settings):
    """Embedding of texts as vectors."""

    kind: Literal["tfidf", "wordllama", "endpoint"] = "tfidf"
    words: tuple[_Count, ...] = (1, 2)
    """Lengths of word n-grams of ``tfidf``."""
    dimensions: _Count = 2**18
    """Hash buckets of ``tfidf``."""
    url: BaseUrl | None = None
    """Address of an OpenAI-compatible ``endpoint``, up to and including ``/v1``."""
    model: str | None = None
    """Model of the ``endpoint``."""
    key_variable: str | None = None
    """Environment variable that holds the key of the ``endpoint``."""
    batch: _Count = 64
    """Texts in a request."""

    @model_validator(mode="after")
    def _endpoint_is_named(self) -> "Embedding":
        if self.kind == "endpoint" and not (self.url and self.model):
            raise ValueError("kind endpoint needs url and model")
        return self


class Labelling(Settings):
    """Labelling of prompts from those whose category is known."""

    labels: tuple[Path, ...] = ()
    """CSV files with columns ``id`` and ``category``, relative to the recipe's folder."""
    neighbours: tuple[_Count, ...] = (5, 10, 20, 40)
    """Values to cross-validate."""
    prior: Literal["seed", "uniform", "estimated"] = "estimated"
    """Share of each category among unlabelled prompts: as among the seeds, all alike, or
    estimated from the votes."""
    precision: _Share = 0.9
    """Cross-validated accuracy wanted of the labels that are kept; sets the entropy threshold."""
    threshold: _Share | None = None
    """Entropy of the votes (1 is even) above which a label is uncertain; replaces `precision`."""
    uncertain: Literal["general", "review"] = "general"
    """Whether uncertain prompts become `general` or wait in the review file."""
    general: str = "general"
    """Category of uncertain prompts."""
    folds: Annotated[int, Field(ge=2)] = 5


class Category(Settings):
    """One category of the evaluation set."""

    quota: Annotated[int, Field(ge=0)]
    """Prompts to draw."""
    language: str | None = None
    """Makes it the category of all unlabelled prompts in this language."""
    languages: dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Ratio of languages inside the category; as they occur when left out."""


class Sampling(Settings):
    """Drawing of prompts within a category."""

    clusters: _Count = 8
    """Clusters in each category and language; prompts are drawn evenly over them."""
    judged: tuple[Path, ...] = ()
    """Earlier judge runs, relative to the recipe's folder. With them, prompts that tell models
    apart are chosen instead, across all categories at once."""
    compared: tuple[str, ...] = ()
    """Models whose verdicts take no part in that choice, as the set is to compare them."""
    min_quality: _Share = 0.3
    """Least quality score of a prompt; see `micronas.judge.sample.quality`."""
    shortage: Literal["error", "accept"] = "error"
    """Treatment of a category with fewer prompts than its quota."""


class Recipe(Settings):
    """Everything an evaluation set is made from; the same recipe and files give the same bytes."""

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
            raise ValueError(
                f"labelling.general must be one of the categories: {self.labelling.general!r}"
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
        """Category of each language that has one."""
        return {each.language: name for name, each in self.categories.items() if each.language}


@dataclass(frozen=True)
class RecipeFile:
    """A recipe and the folder its paths are relative to."""

    recipe: Recipe
    folder: Path


def read_recipe(path: Path | None = None, overrides: Iterable[str] = ()) -> RecipeFile:
    """Read a recipe; the default one of 14 categories, with paths from here, when left out.

    Raises
    ------
    ConfigError
        If the file is not a recipe. One line that names file, line and key.
    """
    recipe = read_settings(path or _DEFAULT_RECIPE, Recipe, overrides)
    return RecipeFile(recipe, path.parent if path else Path())
