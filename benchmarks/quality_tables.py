"""Tables of `benchmarks.quality`: means over seeds and paired differences."""

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

from benchmarks.settings import BUDGETS
from micronas.text import table

SEEDS = (0, 1, 2, 3, 4)
Record = dict[str, Any]
Methods = dict[str, dict[int, Record]]
"""Records of a setting, by method and seed."""


def summary(records: list[Record]) -> str:
    """Tables of leads over the best uniform network, of each setting and of `ranked`."""
    settings = by_setting(records)
    tables, compared = [], []
    for setting in filter(settings.__contains__, BUDGETS):
        methods = dict(settings[setting])
        # who adds a stride must be ahead of uniform networks without it as well
        fewer = setting.replace("strides", "kws")
        best = best_uniform(settings.get(fewer, {}))
        if fewer != setting and best is not None:
            methods[f"{best} of {fewer}"] = settings[fewer][best]
        tables.append(_setting(setting, methods))
        best = best_uniform(methods)
        if best is not None and "default" in methods:
            compared.append((setting, methods["default"], best, methods[best]))
    return "\n\n".join([leads(compared), *tables, _ranked(settings)])


def leads(compared: Iterable[tuple[str, dict[int, Record], str, dict[int, Record]]]) -> str:
    """A line a setting: what was found beside its rival, with the CPU seconds of either."""
    rows = []
    for setting, found, name, rival in compared:
        spent = f"{_mean(found, 'search_seconds'):.0f}+{_mean(found, 'train_seconds'):.0f}"
        rows.append(
            [
                setting,
                str(len(found.keys() & rival.keys())),
                f"{100 * _mean(found, 'int8'):.1f}",
                name,
                f"{100 * _mean(rival, 'int8'):.1f}",
                against(found, rival),
                spent,
                f"{_mean(rival, 'train_seconds'):.0f}",
            ]
        )
    header = ["setting", "pairs", "found", "best rival", "has", "lead", "CPU s", "rival, CPU s"]
    return table(header, rows)


def _ranked(settings: dict[str, Methods]) -> str:
    """Differences of `ranked` to other strategies with the same seeds, and shares of their CPU."""
    rows = []
    for other in ("default", "halving", "evolution", "dnas"):
        pairs = {
            setting: (methods["ranked"], methods[other])
            for setting, methods in settings.items()
            if "ranked" in methods and other in methods
        }
        for setting, (own, theirs) in pairs.items():
            rows.append([other, setting, against(own, theirs), share(own, theirs)])
        every, those = (
            {
                (setting, seed): each
                for setting, pair in pairs.items()
                for seed, each in pair[i].items()
            }
            for i in (0, 1)
        )
        if len(pairs) > 1:
            rows.append([other, "all", against(every, those), share(every, those)])
    return table(["ranked against", "setting", "int8, points", "search CPU"], rows)


def share(own: Mapping[Any, Record], others: Mapping[Any, Record]) -> str:
    """Search CPU of what both have, as a share of the others'."""
    both = own.keys() & others.keys()
    seconds = [sum(each[key]["search_seconds"] for key in both) for each in (own, others)]
    return f"{seconds[0] / seconds[1]:.2f}" if seconds[1] else ""


def by_setting(records: list[Record]) -> dict[str, Methods]:
    settings: dict[str, Methods] = {}
    for each in records:
        methods = settings.setdefault(each["setting"], {})
        methods.setdefault(each["method"], {})[each["seed"]] = each
    return settings


def best_uniform(methods: Methods) -> str | None:
    full = [
        name
        for name, seeds in methods.items()
        if name.startswith("uniform") and len(seeds) == len(SEEDS)
    ]
    return max(full, key=lambda name: _mean(methods[name], "int8"), default=None)


def _setting(setting: str, methods: Methods) -> str:
    best = best_uniform(methods)
    rows = []
    for name, seeds in sorted(methods.items(), key=lambda item: -_mean(item[1], "int8")):
        binding = [max(each["used"].values()) for each in seeds.values()]
        rows.append(
            [
                f"{name} (best)" if name == best else name,
                seeds[min(seeds)]["network"],
                f"{_mean(seeds, 'macs') / 1e6:.2f}",
                f"{100 * min(binding):.0f}-{100 * max(binding):.0f} %",
                f"{100 * _mean(seeds, 'float'):.1f}",
                " ".join(f"{100 * seeds[seed]['int8']:.1f}" for seed in sorted(seeds)),
                f"{100 * _mean(seeds, 'int8'):.1f}",
                "" if best in (None, name) else against(seeds, methods[best or ""]),
                f"{_mean(seeds, 'search_seconds'):.0f}+{_mean(seeds, 'train_seconds'):.0f}",
            ]
        )
    header = ["method", "network of the first seed", "MMACs", "used", "float %"]
    header += ["int8 % by seed", "mean", "against uniform", "CPU s"]
    return f"{setting}\n{table(header, rows)}"


def _mean(seeds: dict[int, Record], key: str) -> float:
    return fmean(each[key] for each in seeds.values())


def against(
    seeds: Mapping[Any, Record], others: Mapping[Any, Record], measure: str = "int8"
) -> str:
    """Mean paired difference in points and the half width of its 95 % interval."""
    both = [seed for seed in seeds if seed in others]
    pairs = [100 * (seeds[seed][measure] - others[seed][measure]) for seed in both]
    if len(pairs) < 2:
        return f"{fmean(pairs):+.1f}" if pairs else ""
    half = student.ppf(0.975, len(pairs) - 1) * stdev(pairs) / math.sqrt(len(pairs))
    return f"{fmean(pairs):+.1f} +- {half:.1f}"
