import pytest

from micronas.router.embedding import Embedding
from micronas.router.fit import FitSettings, fit
from micronas.router.mapping import ParameterBudget
from micronas.router.policy import Router
from tests.router.world import EXPERTS, table


@pytest.fixture(scope="session")
def router() -> Router:
    """A router of three experts for 12 billion active parameters, which tests only read."""
    settings = FitSettings(embedding=Embedding(kind="ngrams", dimensions=64))
    return fit(table(240), EXPERTS, settings=settings, budget=ParameterBudget(active=12e9))
