"""The default search in open spaces beside textbook networks, under budgets that bind.

    python -m benchmarks.open_spaces RESULTS.jsonl --features kws40.npz --images cifar10/train \
        [--machines FOLDER] [--voices FOLDER] [--people FOLDER] [--settings kws-24 cifar-32]
        [--methods default textbook] [--seeds 0 1]
    python -m benchmarks.open_spaces RESULTS.jsonl --table

FEATURES and IMAGES are those of `benchmarks.quality`, and so are board and recipe: 15 epochs, two
of quantisation. `--machines` gets synthetic machines, `--voices` holds recorded words and
`--people` pictures, see `benchmarks.settings`; of these two there are few, and epochs are four
times as many. RESULTS gets a line for each finished network; what is there is not done again, so
that the command can be killed and repeated, and several may write to one file.

default    `micronas.search` in `kws_open` or `images_open`, with the trials of `benchmarks.quality`
           (8 epochs); a search for each seed, whose winner begins with random weights
long       the same with trials of 15 epochs, as long as the recipe
mixed      the default where weights of 4 bits are a choice beside 8
single     in the results only: the default while one training of each finalist decided, and before
           it the last weights of a trial and not the mean of recent ones
sooner     in the results only: the default while networks were compared after a hundred steps, and
           not 150 at least
longer     in the results only: the default since its two finalists train 2.5 times as long as
           trials; its winner begins with random weights
going_on   the same; its winner goes on from its weights, as in `micronas run`
twice      in the results only: `sooner` with twice the epochs where finalists are trained again
plain      the same while trials were ordered by plain cross-entropy, as those of `long` were
published  of settings named by one, such as ds_cnn_s: the paper's network itself, whose own arena,
           file and latency are then the budget of the others, on the first of the paper's boards
           that holds it. Pictures are 50x50 and gray, as `vww_2` sees them; of machines, trained
           on in batches of 32, the score is the AUC, and trials do not know what a fault is
textbook   each network of the space's `textbook`, at the widest that fits: all with the first seed,
           the best three with the second, the best two with the others; the best of them is known
           with hindsight only
gated      textbook networks of residual blocks, with a squeeze-and-excite gate of a quarter of the
           channels in each block, and again the widest that fit
four       textbook networks with weights of 4 bits in their blocks, again the widest that fit
uniform    of voices and people: the widest that fit, of three numbers of blocks, in the paper's
           space, that for keywords in steps of four channels
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.clock import cpu_seconds
from benchmarks.quality import DRAWS, QUANTIZE, RECIPE, TRIAL, command
from benchmarks.quality_tables import Methods, against, leads
from benchmarks.rows import append, read
from benchmarks.settings import BOARD, space_of
from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Costs, Limits, measure
from micronas.nas.candidate import Candidate
from micronas.nas.member import Member
from micronas.nas.prior import uniform_networks
from micronas.nas.search import search
from micronas.nas.settings import SearchSettings
from micronas.nas.textbook import shipped, textbook_networks
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.space import Space
from micronas.text import table
from micronas.train.finetune import finetune
from micronas.train.loop import fit, generator_for
from micronas.train.network import Network
from micronas.train.recipe import Recipe, going_on
from testing.scores import scores


def _budget(sram: str, latency: str, flash: str | None = None) -> Budget:
    return Budget(sram=sram, latency=latency, flash=flash, counts="network")


BUDGETS = {
    "kws-24": _budget("24 KB", "60 ms"),
    "kws-48": _budget("48 KB", "120 ms"),
    "kws-96": _budget("96 KB", "250 ms"),
    "kws-24-64": _budget("24 KB", "60 ms", "64 KB"),
    "kws-24-48": _budget("24 KB", "60 ms", "48 KB"),
    "cifar-32": _budget("32 KB", "100 ms"),
    "cifar-64": _budget("64 KB", "200 ms"),
    "cifar-128": _budget("128 KB", "400 ms"),
    "voices-24": _budget("24 KB", "60 ms"),
    "voices-48": _budget("48 KB", "120 ms"),
    "people-64": _budget("64 KB", "200 ms"),
    "people-96": _budget("96 KB", "400 ms"),
}
KEYWORDS = ("ds_cnn_s", "kws_s", "ds_cnn_m", "kws_m", "ds_cnn_l", "kws_l")
MACHINES = ("ad_s", "ad_m", "ad_l")
PUBLISHED = (*KEYWORDS, "vww_2", *MACHINES)
SPACES = {
    "cifar": "images_open",
    "vww": "images_open",
    "people": "images_open",
    "ad": "ad_open",
    "voices": "kws_open",
    "kws": "kws_open",
}
FEW = ("voices", "people")
"""Kinds of data of which there are few examples, trained on for `REPEATED` times the epochs."""
REPEATED = 4
SETTINGS = (*BUDGETS, *PUBLISHED)
SEARCHES = {
    "default": SearchSettings(draws=DRAWS, trial=TRIAL),
    "long": SearchSettings(draws=DRAWS, trial=TRIAL.model_copy(update={"epochs": RECIPE.epochs})),
    "mixed": SearchSettings(draws=DRAWS, trial=TRIAL),
}
PAPER = ("stm32f446re", "stm32f746zg", "stm32f767zi")
SEARCHED = (*SEARCHES, "going_on", "sooner", "single", "longer", "twice", "plain")
SMALL_BATCH = 32
RACE = (9, 3, 2, 2, 2)
"""Textbook networks that are trained with each seed."""

Record = dict[str, Any]


class Bench:
    """One setting: its data, space and budget."""

    def __init__(
        self, setting: str, data: DataSet, results: Path, budget: Budget | None = None
    ) -> None:
        self.setting, self.data, self.results = setting, data, results
        self.space, self.board = _space(setting, data), BOARD
        self.budget = budget or BUDGETS.get(setting) or self._own(setting)

    def run(self, method: str, seeds: list[int]) -> None:
        for name, seed, find in self.jobs(method, seeds):
            if any(each["method"] == name and each["seed"] == seed for each in self._records()):
                continue
            started = cpu_seconds()
            found = find()
            searched = cpu_seconds() - started
            record = self._judged(name, seed, found, searched)
            append(self.results, record | ({"trials": found.trials} if found.trials else {}))

    def jobs(self, method: str, seeds: list[int]) -> "Iterator[Job]":
        """Yield what `run` does: a name, a seed, and how the network is found."""
        if method == "textbook":
            yield from self._raced(seeds)
        elif method == "gated":
            yield from self._changed(seeds, gated, lambda block: block.type == "residual")
        elif method == "four":
            yield from self._changed(seeds, of_four_bits, lambda block: block.type != "pool")
        elif method == "published":
            yield from self._published(seeds)
        elif method == "uniform":
            yield from self._uniform(seeds)
        else:
            yield from ((method, seed, partial(self.search, method, seed)) for seed in seeds)

    def search(self, method: str, seed: int) -> "Found":
        """Return what a search finds, and the trials it chose from."""
        path = self.results.with_suffix(f".{self.setting}-{method}-{seed}.pt")
        settings = SEARCHES.get(method, SEARCHES["default"])
        trial = self._recipe(settings.trial)
        bits = (4, 8) if method == "mixed" else self.space.bits
        found = search(
            self.space.model_copy(update={"bits": bits}),
            self.data,
            board=self.board,
            budget=self.budget,
            settings=settings.model_copy(update={"trial": trial}),
            seed=seed,
            checkpoint=Checkpoint(path),
        )
        path.unlink(missing_ok=True)
        begin = found.weights if method == "going_on" else None
        return Found(found.winner, _longest(found.candidates), begin)

    def _recipe(self, recipe: Recipe) -> Recipe:
        if self.setting in MACHINES:
            return recipe.model_copy(update={"batch_size": SMALL_BATCH})
        few = self.setting.startswith(FEW)
        return recipe.model_copy(update={"epochs": REPEATED * recipe.epochs}) if few else recipe

    def _network(self, setting: str) -> Candidate:
        network = Space.load(f"published/{setting}").model_copy(
            update={"classes": len(self.data.classes)}
        )
        return Candidate("textbook", (), network, self._costs(network), setting)

    def _costs(self, network: Space) -> Costs:
        graph, kind = network.graph(), self.space.kind
        return measure(graph, self.board, kind=kind)

    def _own(self, setting: str) -> Budget:
        """What a published network takes, as the budget of others, on the board it sets."""
        for board in map(Board.load, PAPER):
            self.board = board
            spent = Limits(math.inf, math.inf, math.inf).spent(self._network(setting).costs)
            if spent["sram"] <= board.arena_bytes:
                break
        return Budget(**spent, counts="network")

    def _published(self, seeds: list[int]) -> "Iterator[Job]":
        if self.setting in PUBLISHED:
            for seed in seeds:
                yield "published", seed, lambda: Found(self._network(self.setting))

    def _uniform(self, seeds: list[int]) -> "Iterator[Job]":
        if not self.setting.startswith(FEW):
            return
        classes = len(self.data.classes)
        space = space_of("kws", classes) if self.space.kind == "kws" else Space.load("vww")
        member = Member(space, self.board, self.budget)
        for seed in seeds:
            for choice in uniform_networks(member):
                network, costs = space.architecture(choice), member.costs(choice)
                found = Candidate("uniform", choice, space, costs, str(network))
                yield f"uniform, {len(network.blocks)}", seed, partial(Found, found)

    def _widest(self, networks: Iterable[Space]) -> list[Candidate]:
        return textbook_networks(
            networks,
            self.board,
            self.budget,
            kind=self.space.kind,
            input_shape=self.data.input,
            classes=len(self.data.classes),
        )

    def _changed(
        self, seeds: list[int], change: Callable[[Space], Space], has: Callable[[Any], bool]
    ) -> "Iterator[Job]":
        """Textbook networks all of whose blocks have what is changed, at the widest that fit."""
        plain = [each for each in shipped(self.space.textbook) if all(map(has, each.blocks))]
        for seed in seeds:
            for found in self._widest(map(change, plain)):
                yield str(found), seed, partial(Found, found)

    def _raced(self, seeds: list[int]) -> "Iterator[Job]":
        networks = {str(each): each for each in self._widest(shipped(self.space.textbook))}
        for seed in seeds:
            means = {
                name: fmean([e["int8"] for e in self._records() if e["method"] == name] or [0.0])
                for name in networks
            }
            for name in sorted(networks, key=lambda name: -means[name])[: RACE[seed]]:
                yield name, seed, partial(Found, networks[name])

    def _judged(self, name: str, seed: int, found: "Found", searched: float) -> Record:
        network_of, started = found.candidate.architecture, cpu_seconds()
        assert isinstance(network_of, Space)
        data = self.data.seen_as(network_of.input)
        network = Network(network_of.graph(), generator=generator_for(seed, "initial weights"))
        recipe = self._recipe(RECIPE)
        if found.begin is not None:
            network.load_state_dict(found.begin)
            recipe = going_on(recipe)
        fit(network, data.train, recipe, seed=seed)
        quantized = finetune(network, data.train, self._recipe(QUANTIZE), seed=seed)
        costs = self._costs(network_of)
        used = self.budget.on(self.board).used(costs)
        judged = scores(network, quantized.graph(), data)
        score = "accuracy" if data.detection is None else "auc"
        return {
            "setting": self.setting,
            "method": name,
            "seed": seed,
            "network": str(found.candidate),
            "macs": costs.macs,
            "used": {key: round(share, 3) for key, share in used.items()},
            "float": judged[f"float_{score}"],
            "int8": judged[f"int8_{score}"],
            "search_seconds": round(searched),
            "train_seconds": round(cpu_seconds() - started),
        }

    def _records(self) -> list[Record]:
        return [each for each in read(self.results) if each["setting"] == self.setting]


def gated(network: Space) -> Space:
    """A network of residual blocks with a squeeze-and-excite gate in each."""
    blocks, width = [], network.stem.width[0]
    for block in network.blocks:
        (width,) = block.width or (width,)
        blocks.append(block.model_copy(update={"squeeze": (width // 4,)}))
    update = {"name": f"{network.name}, gated", "blocks": tuple(blocks)}
    return network.model_copy(update=update)


def of_four_bits(network: Space) -> Space:
    """A network with weights of 4 bits in its blocks."""
    blocks = tuple(each.model_copy(update={"bits": (4,)}) for each in network.blocks)
    return network.model_copy(update={"name": f"{network.name}, 4 bits", "blocks": blocks})


class Found(NamedTuple):
    """A network, accuracies of the trials it was chosen from, and weights that it goes on from."""

    candidate: Candidate
    trials: Mapping[str, float] = MappingProxyType({})
    begin: State | None = None


Job = tuple[str, int, Callable[[], Found]]


def _space(setting: str, data: DataSet) -> OpenSpace:
    """The open space of a setting; pictures that are not those it is written for in their size."""
    kind = next((each for each in SPACES if setting.startswith(each)), "kws")
    space = load_space(SPACES[kind])
    assert isinstance(space, OpenSpace)
    families = space.families
    if kind in ("vww", "people"):
        families = {name: each | {"input": data.input} for name, each in families.items()}
    update = {"classes": len(data.classes), "families": families}
    return OpenSpace.model_validate(space.model_dump(mode="json") | update)


def _longest(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Accuracies of the trials that went to the end."""
    last = max(each.trial_epochs for each in candidates)
    return {
        str(each): round(each.trial_score or 0.0, 4)
        for each in candidates
        if each.trial_epochs == last
    }


def summary(records: list[Record]) -> str:
    """Leads of the default over the best textbook network and over published ones, whose costs are
    its budget; then a table a budget, and one of the published networks."""
    found: dict[str, Methods] = {setting: {} for setting in SETTINGS}
    for each in records:
        found[each["setting"]].setdefault(each["method"], {})[each["seed"]] = each
    tables = [f"{each}\n{_table(found[each])}" for each in BUDGETS if found[each]]
    rivals = {each: _best(found[each]) for each in BUDGETS}
    both = {each: found[each] for each in PUBLISHED if {"default", "published"} <= {*found[each]}}
    rivals |= dict.fromkeys(both, "published")
    compared = [
        (setting, found[setting]["default"], rival, found[setting][rival])
        for setting, rival in rivals.items()
        if rival is not None and "default" in found[setting]
    ]
    return "\n\n".join([leads(compared), *tables, *([_beside_published(both)] if both else [])])


def _best(methods: Methods) -> str | None:
    """Of the networks that were not searched and have the most seeds, the most accurate."""
    rivals = {name: seeds for name, seeds in methods.items() if name not in SEARCHED}
    most = max(map(len, rivals.values()), default=0)
    full = [name for name, seeds in rivals.items() if len(seeds) == most]
    return max(full, key=lambda name: _mean(methods[name]), default=None)


def _beside_published(settings: dict[str, Methods]) -> str:
    rows = []
    for setting, methods in settings.items():
        published, found = methods["published"], methods["default"]
        for name, seeds in (setting, published), ("found", found):
            first = seeds[min(seeds)]
            rows.append(
                [
                    name,
                    first["network"] if seeds is found else "",
                    f"{first['macs'] / 1e6:.1f}",
                    *(f"{100 * first['used'][key]:.0f} %" for key in ("sram", "flash", "latency")),
                    _by_seed(seeds),
                    f"{100 * _mean(seeds):.1f}",
                    against(found, published) if seeds is found else "",
                ]
            )
    header = ["network", "of the first seed", "MMACs", "SRAM", "flash", "latency"]
    return table([*header, "int8 % by seed", "mean", "gain"], rows)


def _mean(seeds: dict[int, Record]) -> float:
    return fmean(each["int8"] for each in seeds.values())


def _by_seed(seeds: dict[int, Record]) -> str:
    return " ".join(f"{100 * seeds[seed]['int8']:.1f}" for seed in sorted(seeds))


def _table(methods: Methods) -> str:
    def mean(name: str) -> float:
        return _mean(methods[name])

    best, rows = _best(methods), []
    for name in sorted(methods, key=lambda name: -mean(name)):
        seeds = methods[name]
        first = seeds[min(seeds)]
        rows.append(
            [
                f"{name} (best)" if name == best else name,
                first["network"] if name in SEARCHED else "",
                f"{fmean(each['macs'] for each in seeds.values()) / 1e6:.2f}",
                f"{100 * max(first['used'].values()):.0f} %",
                _by_seed(seeds),
                f"{100 * mean(name):.1f}",
                "" if best is None or name == best else against(seeds, methods[best]),
                f"{fmean(each['search_seconds'] for each in seeds.values()):.0f}",
            ]
        )
    header = ["method", "network of the first seed", "MMACs", "used", "int8 % by seed", "mean"]
    return table([*header, "against textbook", "search, CPU s"], rows)


def _run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    Bench(setting, data, results).run(method, seeds)


if __name__ == "__main__":
    methods = [*SEARCHES, "going_on", "textbook", "gated", "four", "published", "uniform"]
    command(__doc__, SETTINGS, methods, ["default", "textbook"], show=summary, run=_run)
