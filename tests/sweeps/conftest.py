from pathlib import Path

import pytest

from tests.kept import five_words


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return five_words(tmp_path_factory)
