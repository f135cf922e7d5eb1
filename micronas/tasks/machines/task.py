"""The task ``ad``: anomalies in sounds of machines, of DCASE 2020 Task 2 or a user's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from micronas.tasks.download import Archive
from micronas.tasks.machines.settings import MachineSettings
from micronas.tasks.task import Finding, Task

if TYPE_CHECKING:
    from micronas.data import DataSet

_DCASE = "https://zenodo.org/records/3678171/files"


class _Machines(Task[MachineSettings]):
    settings = MachineSettings
    # Slide rails, pumps and fans of DCASE 2020 Task 2 (CC BY-NC-SA 4.0); the record at Zenodo.
    archives = tuple(
        Archive(f"{_DCASE}/dev_data_{kind}.zip", size, f"md5:{digest}", kind, unpacked)
        for kind, size, digest, unpacked in (
            ("slider", 1_002_998_966, "da24a757719f0d94d5aa2d646bbfdc86", 1_300_000_000),
            ("pump", 1_031_279_015, "90e7091ef722b7238a7f1009365779cd", 1_500_000_000),
            ("fan", 1_354_774_772, "649bdfc06263ae7a838963f43b6641e6", 1_900_000_000),
        )
    )

    def load(self, settings: MachineSettings) -> "DataSet":
        from micronas.tasks.machines.load import load

        return load(settings)

    def known_of(self, settings: MachineSettings) -> Mapping[str, object]:
        return {"features": "log-mel"}

    def check(self, settings: MachineSettings) -> list[Finding]:
        from micronas.tasks.machines.check import check

        return check(settings.path)

    def sample(self, folder: Path, *, seed: int = 0) -> str:
        from micronas.tasks.machines.synth import synthesise

        synthesise(folder, seed=seed)
        return "synthetic machines, for trying the tool and not for products"


TASK = _Machines()
