"""Pictures of reports for the documentation.

    python -m tests.report.screenshots RUNS docs/images

RUNS is a folder of finished runs, of which the first is shown alone, and all are compared.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from micronas.report.write import write_report
from micronas.runs.finished import runs_in
from tests.browser import Page, chromium

_COLOURS = 96  # a flat design has few, and the files stay small


def main(runs: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch, chromium(Path(scratch) / "profile") as page:
        single, several = Path(scratch) / "run.html", Path(scratch) / "runs.html"
        write_report([runs_in(runs)[0]], single)
        write_report([runs], several)
        pictures = {
            "report-desktop": (single, 1200, False, 3400),
            "report-desktop-dark": (single, 1200, True, 1500),
            "report-phone": (single, 360, False, 3000),
            "report-phone-dark": (single, 360, True, 3000),
            "report-runs": (several, 1200, False, 2000),
        }
        for name, (path, width, dark, tallest) in pictures.items():
            page.open(path, width=width, dark=dark)
            save(page, folder / f"{name}.png", tallest)


def save(page: Page, path: Path, tallest: int) -> None:
    page.settled()
    picture = Image.open(io.BytesIO(page.picture(tallest=tallest))).convert("RGB")
    picture.quantize(_COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
