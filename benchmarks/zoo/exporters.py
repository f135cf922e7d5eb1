"""Export one network with one exporter, in a process of its own.

    python -m benchmarks.zoo.exporters EXPORTER NAME FOLDER

Writes FOLDER/model.tflite and FOLDER/result.json: CPU seconds of the export, imports aside, or the
error. Each exporter imports what it needs alone, so that each may have a Python of its own; those
need torch, timm and torchvision for the networks, but for the second half of onnx2tf.
"""

import json
import re
import resource
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

CALIBRATION = 32
_CALIBRATION_SEED = 11
_NAMES = ("first", "second")
_LONGEST = 400
_INSTALLED = re.compile(r"/\S*/site-packages/")
"""Where a package lies on this machine, which is nobody else's business."""


class Clock:
    """CPU seconds of this process and its children while something is timed."""

    seconds = 0.0

    @contextmanager
    def timing(self) -> Any:
        before = _cpu()
        yield
        self.seconds += _cpu() - before


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def micronas(name: str, folder: Path, clock: Clock) -> None:
    _micronas(name, folder, clock)


def micronas_tuned(name: str, folder: Path, clock: Clock) -> None:
    _micronas(name, folder, clock, tune=True)


def _micronas(name: str, folder: Path, clock: Clock, **settings: Any) -> None:
    from benchmarks.zoo.networks import NETWORKS
    from micronas import to_tflite

    entry = NETWORKS[name]
    module, inputs = entry.module(), entry.inputs(CALIBRATION, seed=_CALIBRATION_SEED)
    given = inputs if len(inputs) > 1 else inputs[0]
    with clock.timing():
        model = to_tflite(module, given, calibration=[given], **settings)
    (folder / "model.tflite").write_bytes(model)


def litert_torch(name: str, folder: Path, clock: Clock) -> None:
    """Convert to a float file, then quantise: weights and activations int8, by extremes.

    Left alone, the calibrator takes a moving average of the ranges of single examples.
    """
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import calibrator, quantizer, recipe
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    from benchmarks.zoo.networks import NETWORKS

    entry = NETWORKS[name]
    module, inputs = entry.module(), entry.inputs(CALIBRATION, seed=_CALIBRATION_SEED)
    path = folder / "float.tflite"
    with clock.timing():
        edge = litert_torch.convert(module, entry.inputs(1, seed=_CALIBRATION_SEED))
        edge.export(str(path))
        interpreter = Interpreter(model_path=str(path))
        (signature,) = interpreter.get_signature_list()
        read = interpreter.get_signature_runner(signature).get_input_details()
        examples = [
            {
                key: values[index : index + 1].numpy().astype(read[key]["dtype"])
                for key, values in zip(sorted(read), inputs, strict=True)
            }
            for index in range(CALIBRATION)
        ]
        work = quantizer.Quantizer(str(path))
        work.load_quantization_recipe(recipe.static_wi8_ai8())
        ranges = calibrator.Calibrator(str(path), qsv_update_func=min_max_update)
        ranges.calibrate({signature: examples}, work._recipe_manager)
        work.quantize(ranges.get_model_qsvs()).export_model(
            str(folder / "model.tflite"), overwrite=True
        )


def onnx(name: str, folder: Path, clock: Clock) -> None:
    """First half of onnx2tf: the ONNX file, and calibration inputs with channels last."""
    import torch

    from benchmarks.zoo.networks import NETWORKS

    entry = NETWORKS[name]
    module, inputs = entry.module(), entry.inputs(CALIBRATION, seed=_CALIBRATION_SEED)
    for key, values in zip(_NAMES, inputs, strict=False):
        np.save(folder / f"{key}.npy", np.moveaxis(values.numpy(), 1, -1))
    with clock.timing():
        torch.onnx.export(
            module,
            entry.inputs(1, seed=_CALIBRATION_SEED),
            str(folder / "model.onnx"),
            input_names=list(_NAMES[: len(inputs)]),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def onnx2tf(name: str, folder: Path, clock: Clock) -> None:
    _onnx2tf(folder, clock, "flatbuffer_direct")


def onnx2tf_tensorflow(name: str, folder: Path, clock: Clock) -> None:
    _convert_to_int8_alone()
    _onnx2tf(folder, clock, "tf_converter")


def _convert_to_int8_alone() -> None:
    """Leave the files empty that nobody asked for: onnx2tf writes six besides, most of its time.

    They are those in float32, float16 and int16, and those with inputs or weights alone in int8.
    """
    import tensorflow as tf
    from tensorflow.lite.python import lite

    def patched(convert: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        return lambda self: convert(self) if self.inference_input_type == tf.int8 else b""

    for name in ("SavedModel", "KerasModel", "FrozenGraph"):
        kind = getattr(lite, f"TFLite{name}ConverterV2")
        kind.convert = patched(kind.convert)


def _onnx2tf(folder: Path, clock: Clock, backend: str) -> None:
    import onnx2tf

    given = [[path.stem, str(path), 0.0, 1.0] for path in sorted(folder.glob("*.npy"))]
    with clock.timing():
        onnx2tf.convert(
            input_onnx_file_path=str(folder / "model.onnx"),
            output_folder_path=str(folder / "tf"),
            output_integer_quantized_tflite=True,
            custom_input_op_name_np_data_path=given,
            input_quant_dtype="int8",
            output_quant_dtype="int8",
            tflite_backend=backend,
            non_verbose=True,
        )
    (path,) = (folder / "tf").glob("*_full_integer_quant.tflite")
    path.rename(folder / "model.tflite")


EXPORTERS: dict[str, Callable[[str, Path, Clock], None]] = {
    "micronas": micronas,
    "micronas-tuned": micronas_tuned,
    "litert-torch": litert_torch,
    "onnx": onnx,
    "onnx2tf": onnx2tf,
    "onnx2tf-tensorflow": onnx2tf_tensorflow,
}


def main(exporter: str, name: str, folder: Path) -> None:
    clock = Clock()
    result: dict[str, object] = {}
    try:
        EXPORTERS[exporter](name, folder, clock)
    except BaseException as error:  # a converter may call sys.exit
        said = _INSTALLED.sub("", " ".join(str(error).split()))
        result["error"] = f"{type(error).__name__}: {said[:_LONGEST]}"
    result["seconds"] = round(clock.seconds, 3)
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
