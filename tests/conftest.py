import os

# Of torch and of numpy's and scipy's BLAS, each of which reads it as it is loaded: on arrays as
# small as those of the tests threads only wait for each other, twice as long where others compute.
os.environ["OMP_NUM_THREADS"] = "1"

import gc
import sys
from collections.abc import Iterator

import hypothesis
import pytest

# Collecting the tests makes a million objects, most of which stay. The search for cycles among them
# took a quarter of that time, and slowed each test that makes many.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


# Processes that tests start are to find what a user's shell has: with this variable set, one that
# never flushed what another waited for passed every test.
os.environ.pop("PYTHONUNBUFFERED", None)

# With this one set each worker compiles every test anew, and each process that tests start compiles
# all of micronas, half a second each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# a busy machine is slow at drawing, and at everything else
PATIENT = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("quick", max_examples=25, **PATIENT)
hypothesis.settings.register_profile("thorough", max_examples=100, **PATIENT)  # make slow
hypothesis.settings.load_profile("quick")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        from tests.training import DEVICES  # not where workers have the tests

        metafunc.parametrize("device", DEVICES, indirect=True, scope="module")


@pytest.fixture(scope="module")
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each device of this machine, on which `tests.training` trains meanwhile."""
    from tests.training import take

    take(request.param)
    yield request.param
    take("cpu")
