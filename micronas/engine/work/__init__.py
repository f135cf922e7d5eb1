"""Work of the kernels of generated C: amounts in which their instructions are linear.

The amounts follow export/engine as compiled by GCC. A call has the work of its own kernel and of
shared functions, each under its name.
"""

from micronas.engine.hops import Hops
from micronas.engine.steps import Call
from micronas.engine.work.done import Done, Terms
from micronas.engine.work.unweighted import UNWEIGHTED, elements
from micronas.engine.work.weighted import TAPS, WEIGHTED, text_of

__all__ = ["TAPS", "Done", "Terms", "text_of", "work_of", "work_of_turn"]

_RULES = {**WEIGHTED, **UNWEIGHTED}


def work_of(call: Call, written: int) -> list[Done]:
    """Return the work of a call; `written` is the number of elements of its output.

    It does not depend on values: kernels select by masks.
    """
    rule = _RULES.get(call.structure, elements)
    found: dict[str, Terms] = {}
    if call.maps > 1:
        found["repeat"] = {"calls": 1, "maps": call.maps}
    for each in rule(call, written / call.maps):
        terms = found.setdefault(each.function, {})
        for name, amount in each.terms.items():
            terms[name] = terms.get(name, 0.0) + call.maps * amount
    return [Done(function, terms) for function, terms in found.items()]


def work_of_turn(hops: Hops, turn: int) -> list[tuple[str, list[Done]]]:
    """Return the work of one call of a streaming network, by kernel."""
    runs = hops.turns[turn]
    found = [("hop", [Done("hop", {"calls": 1.0, "runs": float(len(runs))})])]
    for run in runs:
        if run.call is None:
            places = (hops.places.get(band, 0) + at for band, at in (*run.reads, run.written))
            aligned = all(place % 4 == 0 for place in places)
            blocks = run.bytes // 16 if aligned else 0
            rest = run.bytes - 16 * blocks
            terms = {"calls": 1.0, "aligned": float(aligned), "blocks": blocks, "rest": rest}
            found.append(("shift", [Done("shift", terms)]))
        else:
            found.append((run.function, work_of(run.call, run.elements)))
    return found
