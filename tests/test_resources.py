"""Shipped files are found in a checkout and in a wheel's layout alike."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from micronas import resources
from micronas.errors import ConfigError

ROOT = Path(__file__).parents[1]


def test_folders_of_a_checkout() -> None:
    assert resources.folder("latency_models") == ROOT / "latency_models"
    assert resources.folder("search_spaces") == ROOT / "search_spaces"
    assert resources.folder("export") == ROOT / "export"


def test_folders_of_a_wheel(tmp_path: Path) -> None:
    package = tmp_path / "micronas"
    package.mkdir()
    for module in (ROOT / "micronas").glob("*.py"):
        shutil.copy(module, package)
    (package / "export").mkdir()  # code, not templates
    for name in ("search_spaces", "latency_models", "export_templates"):
        (package / name).mkdir()
    (package / "search_spaces" / "one.yaml").touch()
    program = (
        "from micronas.resources import find, folder; "
        "print(find('search_spaces', 'one'), folder('export'), sep='\\n')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={}, capture_output=True, check=True
    ).stdout.decode()
    assert [Path(line).relative_to(tmp_path) for line in shown.split()] == [
        Path("micronas/search_spaces/one.yaml"),
        Path("micronas/export_templates"),
    ]


def test_names_are_found_with_and_without_suffix() -> None:
    file = ROOT / "latency_models" / "stm32f446re.yaml"
    assert resources.find("latency_models", "stm32f446re") == file
    assert resources.find("latency_models", "stm32f446re.yaml") == file
    assert resources.find("latency_models", file) == file
    assert "stm32f446re" in resources.names("latency_models")


def test_a_users_copy_wins_but_a_bare_word_means_the_shipped_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stm32f446re.yaml").touch()
    Path("stm32f446re").touch()
    assert resources.find("latency_models", "stm32f446re.yaml") == Path("stm32f446re.yaml")
    shipped = resources.find("latency_models", "stm32f446re")
    assert shipped == ROOT / "latency_models" / "stm32f446re.yaml"


@pytest.mark.parametrize("wanted", ["stm32f44re", "stm32f44re.yaml", "nowhere/stm32f44re.yaml"])
def test_the_nearest_name_is_offered(wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"{wanted}'; did you mean 'stm32f446re'"):
        resources.find("latency_models", wanted)
