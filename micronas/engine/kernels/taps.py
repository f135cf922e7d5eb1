"""Depthwise kernels of one window each, with the taps written out."""

from collections.abc import Iterator

from micronas.engine.kernels.window import Window
from micronas.resources import filled

MOST_PAIRS = 350
"""Most pairs of taps, each of 4 bytes on the stack where no register is left."""
MOST_REACH = 2000
"""Most elements of a row that an instruction can reach from its first."""
_PLANE, _WEIGHTS, _OUT, _DEPTH, _ROW, _DOWN, _HEIGHT, _WIDTH, _BIAS, _MULTIPLIER, _, _SHIFT = range(
    0, 48, 4
)
"""Offsets in a Channel of depthwise.c."""

Pair = tuple[int, int]
"""Row of the window, and place in it of the first of two taps."""


class Taps:
    """Kernel of one window.

    With the DSP extension each word of the plane is loaded once per step and multiplied with pairs
    of taps, which lie in registers or, where these are all taken, on the stack. Where the
    stride is 1, a step makes two outputs; the second one's window begins in the upper half of a
    word.
    """

    def __init__(self, window: Window, is_packed: bool) -> None:
        (self._height, self._width), (_, self._apart) = window.taps, window.dilation
        apart = self._apart
        self._step = window.stride[1]
        self._is_packed = is_packed
        names = [f"depthwise_{self._height}x{self._width}"]
        names += [f"apart_{apart}"] if apart > 1 else []
        names += [f"step_{self._step}"] if self._step > 1 else []
        names += ["4"] if is_packed else []
        self.name = "_".join(names)
        self._taps = {place * apart: place for place in range(self._width)}
        self.reach = (self._width - 1) * apart + 1
        words = -(-(self.reach + (self._step == 1)) // 2)
        self._words = [
            (row, number, uses)
            for row in range(self._height)
            for number in range(words)
            if (uses := [*self._uses(row, 2 * number)])
        ]
        used = [pair for _, _, uses in self._words for _, _, pair in uses]
        self.pairs = list(dict.fromkeys(used))
        held = ["r10", "r11", "r12", "lr", *(["r9"] if self._height == 1 else [])]
        self._held = dict(zip(self.pairs, held, strict=False))
        self._spilled = {pair: 4 * at for at, pair in enumerate(self.pairs[len(held) :])}

    @property
    def bytes(self) -> int:
        """Bytes of one channel's taps."""
        count = self._height * self._width
        return (count + 1) // 2 if self._is_packed else count

    @property
    def text(self) -> str:
        apart = f", {self._apart} apart" if self._apart > 1 else ""
        taps = f"{self._height} x {self._width} taps{apart}"
        together = 2 if self._step == 1 else 1
        values = {
            "COMMENT": f"{taps}, steps of {self._step} along rows.",
            "NAME": self.name,
            "ASSEMBLY": "\n".join(f'      "{line}\\n"' for line in self._assembly()),
            "TOGETHER": together,
            "STEP": self._step * together,
            "SUMS": "\n".join(f"      {line}" for line in self._plain()),
        }
        return filled("engine/depthwise_taps.c.in", values)

    def _uses(self, row: int, place: int) -> Iterator[tuple[str, str, Pair]]:
        """Yield what a word from a place on adds: register of the sum, instruction and pair."""
        for sum_, start in (("r4", place), ("r5", place - 1)):
            if sum_ == "r5" and self._step > 1:
                continue
            low, up = start in self._taps, start + 1 in self._taps
            if low and up:
                yield sum_, "smlad", (row, start)
            elif low and self._step == 1 and start - 1 in self._taps:
                yield sum_, "smlabt", (row, start - 1)
            elif low:
                yield sum_, "smlabb", (row, start)
            elif up:
                yield sum_, "smlatb", (row, start + 1)

    def _assembly(self) -> Iterator[str]:
        """Yield the instructions: labels begin the parts for each channel, row, step and end."""
        room = 4 * len(self._spilled)
        yield "push {r4-r11, lr}"
        if room:
            yield f"sub sp, #{room}"
        yield f"ldr r1, [r0, #{_WEIGHTS}]"
        for pair in self.pairs:
            yield from self._made(pair)
        if self._height > 1:
            yield f"ldr r9, [r0, #{_ROW}]"
            yield "lsl r9, r9, #1"
        yield f"ldr r3, [r0, #{_OUT}]"
        yield "0:"
        yield f"ldr r1, [r0, #{_PLANE}]"
        yield f"ldr r7, [r0, #{_DOWN}]"
        yield f"ldr r8, [r0, #{_WIDTH}]"
        yield "add r7, r1, r7, lsl #1"
        yield f"str r7, [r0, #{_PLANE}]"
        yield "1:"
        yield from self._products()
        yield from self._rescaled()
        yield "2:"
        yield f"ldr r7, [r0, #{_HEIGHT}]"
        yield "subs r7, #1"
        yield f"str r7, [r0, #{_HEIGHT}]"
        yield "bne 0b"
        yield "3:"
        if room:
            yield f"add sp, #{room}"
        yield "pop {r4-r11, pc}"

    def _made(self, pair: Pair) -> Iterator[str]:
        """Yield what puts a pair of taps together, of which one may be missing."""
        row, first = pair
        to, is_held = self._held.get(pair, "r4"), pair in self._held
        there = [place in self._taps for place in (first, first + 1)]
        for register, place, is_there in zip(("r4", "r5"), (first, first + 1), there, strict=True):
            if not is_there:
                continue
            index = row * self._width + self._taps[place]
            yield f"ldrsb {register}, [r1, #{index // 2 if self._is_packed else index}]"
            if self._is_packed and index % 2:
                yield f"bic {register}, {register}, #15"
            elif self._is_packed:
                yield f"lsls {register}, {register}, #28"
                yield f"asrs {register}, {register}, #24"
        if all(there):
            yield f"pkhbt {to}, r4, r5, lsl #16"
        else:
            yield f"uxth {to}, r4" if there[0] else f"lsl {to}, r5, #16"
        if not is_held:
            yield f"str {to}, [sp, #{self._spilled[pair]}]"

    def _products(self) -> Iterator[str]:
        yield "mov r2, r1"
        yield f"adds r1, #{2 * self._step * (2 if self._step == 1 else 1)}"
        yield f"ldr r4, [r0, #{_BIAS}]"
        if self._step == 1:
            yield "mov r5, r4"
        at, loaded = 0, None
        for row, number, uses in self._words:
            yield from ["add r2, r9"] * (row - at)
            at = row
            yield f"ldr r6, [r2, #{4 * number}]"
            for sum_, instruction, pair in uses:
                taps = self._held.get(pair, "r7")
                if taps == "r7" and loaded != pair:
                    yield f"ldr r7, [sp, #{self._spilled[pair]}]"
                    loaded = pair
                yield f"{instruction} {sum_}, r6, {taps}, {sum_}"

    def _rescaled(self) -> Iterator[str]:
        sums = ["r4", "r5"] if self._step == 1 else ["r4"]
        yield f"ldrd r6, r7, [r0, #{_MULTIPLIER}]"
        yield f"ldr r2, [r0, #{_SHIFT}]"
        for each in sums:  # sums of 4-bit filters are 16 times as large
            yield f"asrs {each}, {each}, #3" if self._is_packed else f"lsls {each}, {each}, #1"
            yield f"smmulr {each}, {each}, r6"
            yield f"add {each}, {each}, {each}, asr #31"
            yield f"add {each}, r7"
            yield f"asrs {each}, r2"
            yield f"ssat {each}, #8, {each}"
        yield f"ldr r7, [r0, #{_DEPTH}]"
        yield "strb r4, [r3]"
        yield f"subs r8, #{len(sums)}"
        if len(sums) == 1:
            yield "add r3, r7"
        else:
            yield "itte pl"
            yield "strbpl r5, [r3, r7]"
            yield "addpl r3, r3, r7, lsl #1"
            yield "addmi r3, r7"
        yield "bgt 1b"

    def _plain(self) -> Iterator[str]:
        """Yield the lines in C that make one step's outputs."""
        sums = ["first", "second"] if self._step == 1 else ["first"]
        for name in sums:
            yield f"int32_t {name} = c->bias;"
        for row in range(self._height):
            for at, place in self._taps.items():
                for more, name in enumerate(sums):
                    element = f"{row} * row + {at + more}" if row else f"{at + more}"
                    yield f"{name} += x[{element}] * {self._tap(row * self._width + place)};"
        for name in sums:
            doubled = f"{name} >> 3" if self._is_packed else f"{name} * 2"
            where = "if (many > 1) " if name == "second" else ""
            yield f"{where}*to = code_of(c, {doubled}), to += c->depth;"

    def _tap(self, index: int) -> str:
        if not self._is_packed:
            return f"w[{index}]"
        byte = f"(uint8_t)w[{index // 2}]"
        return f"(int8_t)({byte} & 0xF0)" if index % 2 else f"(int8_t)({byte} << 4)"
