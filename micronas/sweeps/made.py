"""A sweep's own space or data: a function that every process calls, found by its name.

A module has no file that builds it, and a pickle is not readable. A function is plain text, works
on other machines, and makes the same result another day, which is checked.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from micronas.errors import ConfigError, MicronasError

_SCRIPT = "__mp_main__"
"""Name of the leader's script in a worker, as in multiprocessing."""

_REMEDY = {
    True: 'call the sweep below `if __name__ == "__main__":`',
    False: "all machines must see the same files under the same paths",
}


class Made(NamedTuple):
    """A function that makes a space or data, and a digest of its result."""

    function: str
    """``module:function``, or ``file.py:function`` of a script."""
    content: str
    """Hash of its result in the leader."""


def made_by(key: str, function: Callable[[], Any]) -> tuple[Made, Any]:
    """Call a function, and return its reference for other processes, and its result.

    Raises
    ------
    ConfigError
        If no other process could find the function, or it returns no space or data set.
    """
    name = _reference(key, function)
    found = _called(key, name, function)
    return Made(name, _content(key, name, found)), found


def make(key: str, made: Made) -> Any:
    """Call the function that the leader called.

    Raises ConfigError if the function is not found, or returns something else than in the leader.
    """
    home, _, name = made.function.rpartition(":")
    try:
        function = getattr(
            _script(home) if home.endswith(".py") else importlib.import_module(home), name
        )
    except Exception as error:
        raise ConfigError(
            f"a sweep's {key} must be made in every process, but {made.function} cannot be "
            f"imported ({type(error).__name__}: {error}); {_REMEDY[home.endswith('.py')]}"
        ) from error
    found = _called(key, made.function, function)
    if _content(key, made.function, found) != made.content:
        raise ConfigError(
            f"a sweep's {key} must be the same in every process, but {made.function} returned "
            "something else than it did first; take random numbers from a seed of its own"
        )
    return found


def _reference(key: str, function: Any) -> str:
    name, home = getattr(function, "__qualname__", ""), getattr(function, "__module__", None)
    main = sys.modules["__main__"]
    if home == "__main__":
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        home = spec.name if spec else str(Path(file).resolve()) if file else None
    if not (callable(function) and home and name.isidentifier()) or isinstance(function, type):
        raise ConfigError(
            f"a sweep's {key} must be a function at the top of a file, which the process of every "
            f"point calls, but got {name or type(function).__name__!r}; write `def {key}(): "
            f"return ...` in a file and pass {key}={key}"
        )
    return f"{home}:{name}"


def _called(key: str, name: str, function: Callable[[], Any]) -> Any:
    """Return the result of a function, with the same torch random numbers in every process."""
    import torch

    try:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return function()
    except MicronasError:
        raise
    except Exception as error:
        raise ConfigError(
            f"a sweep's {key} must be made without arguments and errors, but {name} raises "
            f"{type(error).__name__}: {error}"
        ) from error


def _script(path: str) -> Any:
    """Return the leader's script as a module, without running its ``__main__`` part."""
    spec = importlib.util.spec_from_file_location(_SCRIPT, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {path}")
    module = sys.modules[_SCRIPT] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _content(key: str, name: str, found: Any) -> str:
    """Hash a space and its weights, or the labels of data and a few inputs of each part."""
    from micronas.data import DataSet
    from micronas.nas.same_data import looked_at
    from micronas.space.content import content
    from micronas.space.open_space import OpenSpace
    from micronas.space.searchable import Searchable

    wanted = {"space": (Searchable, OpenSpace), "data": (DataSet,)}[key]
    if not isinstance(found, wanted):
        raise ConfigError(
            f"a sweep's {key} must be a {'search space' if key == 'space' else 'DataSet'}, but "
            f"{name} returned {type(found).__name__}"
        )
    if isinstance(found, DataSet):
        digest = hashlib.sha256(repr((found.classes, found.input)).encode())
        # no sums, whose last bits differ between processors
        for part, inputs in looked_at(found, judging=True):
            for each in (part.labels, part.groups, inputs):
                digest.update(each.numpy().tobytes())
        return digest.hexdigest()[:16]
    return content(found)
