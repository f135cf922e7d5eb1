"""Tables as people have them, and settings that read them."""

from pathlib import Path

from micronas.tasks.series.settings import SeriesSettings


def settings(path: Path = Path("x"), **given: object) -> SeriesSettings:
    return SeriesSettings.model_validate({"path": path, **given})


def write(path: Path, *lines: object) -> Path:
    """Write a file of lines, in folders that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
