"""One of two processes that ``torchrun`` starts: prints what it found as JSON."""

import json
import sys
from pathlib import Path

import torch

from micronas.checkpoint import Checkpoint
from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.distributed import joined
from micronas.nas.search import search
from micronas.nas.settings import SearchSettings
from micronas.train.recipe import Recipe
from tests.toy import SPACE, data

SETTINGS = SearchSettings(
    strategy="dnas",
    steps=20,
    warmup=20,
    batch_size=32,
    candidates=6,
    finalists=1,
    trial=Recipe(epochs=2, batch_size=32, learning_rate=1e-2),
)


def refused() -> str:
    raise ConfigError("only the first knows why")


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

        told: list[str] = []
        path = folder / f"{everyone.rank}.pt"
        found = search(
            SPACE,
            data(),
            board=Board.load("stm32f446re"),
            budget=Budget(sram="4.5 KB", macs="60000"),
            settings=SETTINGS,
            checkpoint=Checkpoint(path),
            progress=lambda phase, *_: told.append(phase),
        )
    described = {
        "rank": everyone.rank,
        "size": everyone.size,
        "loss": mean.item(),
        "gradient": layer.weight.grad.tolist() if layer.weight.grad is not None else None,
        "shared": torch.rand(1, generator=shared).item(),
        "own": torch.rand(1, generator=own).item(),
        "once": complaint,
        "told": len(told),
        "saved": path.exists(),
        "networks": [str(each.architecture) for each in found.candidates],
        "losses": [record["loss"] for record in found.history],
        "trials": [each.trial_loss for each in found.candidates],
        "gates": found.gates[-1],
    }
    (folder / f"{everyone.rank}.json").write_text(json.dumps(described))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
