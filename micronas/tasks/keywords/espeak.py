"""Render text with eSpeak NG in a separate process.

Run as ``python -m micronas.tasks.keywords.espeak LIBRARY DATA < requests``. A request is one line
of JSON, ``[voice, words per minute, pitch, text]``; the answer is the number of samples (uint32)
and the samples (int16), native byte order; the very first answer is the sampling rate (uint32).

The engine carries state from one utterance to the next, so only the same requests in the same
order in a fresh process give the same samples. Standard library only: it starts in milliseconds.
"""

import ctypes
import json
import os
import struct
import sys

_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_RATE, _PITCH = 1, 3
_UTF8 = 1

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def _main(library: str, data: str) -> None:
    """Answer every request on standard input, then return."""
    engine = ctypes.CDLL(library)
    engine.espeak_Synth.argtypes = [
        *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
        *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
    ]
    # The engine keeps its data path in a buffer of 160 bytes; a relative path always fits.
    os.chdir(data)
    rate = engine.espeak_Initialize(_SYNCHRONOUS, 0, b".", _DO_NOT_EXIT)
    if rate <= 0:
        sys.exit(f"eSpeak NG could not be started with its data in {data}")
    # otherwise breath noise is seeded from the clock
    engine.espeak_ng_SetRandSeed(ctypes.c_long(1))

    def answer(*parts: bytes | bytearray) -> None:
        sys.stdout.buffer.write(b"".join(parts))
        # the caller waits for this answer before the next request
        sys.stdout.buffer.flush()

    answer(struct.pack("=I", rate))

    rendered = bytearray()

    def collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count > 0:
            rendered.extend(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _Callback(collect)
    engine.espeak_SetSynthCallback(callback)
    current = None
    for line in sys.stdin:
        voice, speed, pitch, text = json.loads(line)
        if voice != current and engine.espeak_SetVoiceByName(voice.encode()):
            sys.exit(f"eSpeak NG has no voice {voice!r}")
        current = voice
        engine.espeak_SetParameter(_RATE, speed, 0)
        engine.espeak_SetParameter(_PITCH, pitch, 0)
        rendered.clear()
        encoded = text.encode() + b"\0"
        if engine.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None):
            sys.exit(f"eSpeak NG could not say {text!r}")
        answer(struct.pack("=I", len(rendered) // 2), rendered)


if __name__ == "__main__":
    _main(*sys.argv[1:])
