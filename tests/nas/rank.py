"""One of two processes that ``torchrun`` starts: prints what it found as JSON."""

import json
import sys
from pathlib import Path

import torch

from micronas.errors import ConfigError
from micronas.nas.distributed import joined
from micronas.nas.settings import DnasSettings, RankedSettings, SingleStageSettings
from micronas.runs.run import run_search
from micronas.runs.settings import RunSettings
from tests.toy import SPACE, few

QUICK = {"epochs": 1, "batch_size": 32}
SETTINGS = RunSettings.model_validate(
    {
        "board": "stm32f446re",
        "budget": {"sram": "4.5 KB", "macs": "60000"},
        "space": "toy",
        "data": {"task": "kws", "path": "none"},
        "train": QUICK,
        "quantize": QUICK,
    }
)


SUPERNET = {"steps": 24, "batch_size": 32, "finalists": 1, "champions": 1, "trial": QUICK}
SEARCHES = {
    "dnas": DnasSettings.model_validate({**SUPERNET, "warmup": 20, "candidates": 6}),
    "ranked": RankedSettings.model_validate(SUPERNET),
    "single_stage": SingleStageSettings.model_validate({"epochs": 10, "draws": 4, "trial": QUICK}),
}


def refused() -> str:
    raise ConfigError("only the first knows why")


def searched(settings: RunSettings, folder: Path) -> dict[str, object]:
    """Search and train in a folder of this process, and describe what came of it."""
    told: list[str] = []
    found, trained = run_search(
        settings,
        folder,
        data=few(),
        space=SPACE,
        workers=1,
        progress=lambda phase, *_: told.append(phase),
    )
    return {
        "told": len(told),
        "files": len(list(folder.glob("*"))),
        "networks": [str(each.architecture) for each in found.candidates],
        "losses": [record["loss"] for record in found.history],
        "trials": [each.trial_loss for each in found.candidates],
        "gates": found.gates[-1:],
        "metrics": trained.metrics,
    }


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined() as everyone:
        layer = torch.nn.Linear(3, 2)
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        inputs = torch.arange(12.0).view(4, 3)
        loss = layer(everyone.part(inputs)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        mean = everyone.average(layer, loss)

        shared = torch.Generator().manual_seed(5)
        own = everyone.own(shared)
        try:
            everyone.once(refused)
        except ConfigError as error:
            complaint = str(error)

        searches = {
            strategy: searched(
                SETTINGS.model_copy(update={"search": search}),
                folder / f"{strategy}{everyone.rank}",
            )
            for strategy, search in SEARCHES.items()
        }
    described = {
        "rank": everyone.rank,
        "size": everyone.size,
        "loss": mean.item(),
        "gradient": layer.weight.grad.tolist() if layer.weight.grad is not None else None,
        "shared": torch.rand(1, generator=shared).item(),
        "own": torch.rand(1, generator=own).item(),
        "once": complaint,
        "searches": searches,
    }
    (folder / f"{everyone.rank}.json").write_text(json.dumps(described))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
