import pytest

from tests.export.firmware.listening import trained


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trained network that tells words that are tones from each other."""
    return trained(tmp_path_factory)
