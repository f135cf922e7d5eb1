import pytest

from tests.export.firmware.listening import trained


@pytest.fixture(scope="session")
def model() -> bytes:
    """A trained network that tells words that are tones from each other."""
    return trained()
