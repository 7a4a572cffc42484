"""Keras models and TensorFlow SavedModels to graphs, through TensorFlow's TFLite converter.

Needs the extra `tensorflow`. The model is converted in float32 with batch size 1; quantisation is
Lilliput's own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lilliput.graph import Graph, UnsupportedModel
from lilliput.importers.tflite import read_tflite

_FILE_SUFFIXES = (".keras", ".h5", ".hdf5")


def read_keras(model: Any, name: str | None = None) -> Graph:
    """The float32 graph of a Keras model.

    model: a path to a `.keras` or `.h5` file or to a SavedModel folder, or a live Keras model.
    name: the graph's name; the file's or the model's own by default.

    Raises ImportError when TensorFlow is not installed, FileNotFoundError for a path without a
    model, UnsupportedModel when the model has unknown sizes besides the batch, or holds what
    TFLite or Lilliput does not run, ValueError when TensorFlow cannot load the file.
    """
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        return read_tflite(_convert_path(path), name or path.stem)
    return read_tflite(_convert_model(model), name or getattr(model, "name", None) or "model")


def is_keras_path(path: Path) -> bool:
    """Whether `read_keras` takes this path: a `.keras` or `.h5` file, or a SavedModel folder."""
    return path.suffix.lower() in _FILE_SUFFIXES or (path / "saved_model.pb").is_file()


def _tensorflow() -> Any:
    # TensorFlow reports each start of itself on stderr unless told not to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow
    except ImportError as error:
        raise ImportError(
            "Keras models and SavedModels are converted by TensorFlow, which is not installed; "
            "run: pip install lilliput[tensorflow]"
        ) from error
    return tensorflow


def _convert_path(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"no such model: {path}")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise FileNotFoundError(
                f"{path} is a folder without saved_model.pb; give a SavedModel folder, "
                "or a .keras, .h5 or .tflite file"
            )
        return _convert_saved_model(path)
    tensorflow = _tensorflow()
    try:
        model = tensorflow.keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"TensorFlow cannot load {path}: {_first_line(error)}") from error
    return _convert_model(model)


def _convert_model(model: Any) -> bytes:
    tensorflow = _tensorflow()
    if not callable(model) or not hasattr(model, "inputs"):
        raise TypeError(
            f"expected a Keras model or a path, got {type(model).__name__}; "
            "give a built keras.Model, or a path to a .keras, .h5 or SavedModel"
        )
    if not model.inputs:
        raise UnsupportedModel(
            "the Keras model has no input shape yet; call model.build(input_shape) first"
        )
    specs = [
        tensorflow.TensorSpec(_fixed_shape(tensor), tensor.dtype, name=f"input_{number}")
        for number, tensor in enumerate(model.inputs)
    ]
    single = len(specs) == 1

    def call(*values: Any) -> Any:
        return model(values[0] if single else list(values), training=False)

    function = tensorflow.function(call).get_concrete_function(*specs)
    return _convert_function(tensorflow, function)


def _convert_saved_model(path: Path) -> bytes:
    tensorflow = _tensorflow()
    try:
        loaded = tensorflow.saved_model.load(str(path))
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise ValueError(f"TensorFlow cannot load {path}: {_first_line(error)}") from error
    signatures = dict(loaded.signatures)
    if not signatures:
        raise UnsupportedModel(
            f"SavedModel {path} has no signature; save it with model.export(...) or signatures=..."
        )
    signature = signatures.get("serving_default") or next(iter(signatures.values()))
    named = signature.structured_input_signature[1]
    order = sorted(named)
    specs = [
        tensorflow.TensorSpec(_fixed_shape(named[key]), named[key].dtype, name=key) for key in order
    ]

    def call(*values: Any) -> Any:
        return signature(**dict(zip(order, values, strict=True)))

    function = tensorflow.function(call).get_concrete_function(*specs)
    return _convert_function(tensorflow, function)


def _fixed_shape(tensor: Any) -> list[int]:
    """The shape with the batch set to 1."""
    shape = list(tensor.shape)
    if any(size is None for size in shape[1:]):
        raise UnsupportedModel(
            f"input {tensor.name!r} has the dynamic shape {shape}; "
            "build the model with fixed sizes (only the batch may be unknown)"
        )
    return [1, *(int(size) for size in shape[1:])]


def _convert_function(tensorflow: Any, function: Any) -> bytes:
    # Without the object that owns the variables TensorFlow freezes them; with it, large networks
    # keep them as resources (VAR_HANDLE). The callers hold the owner meanwhile.
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([function])
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS]
    try:
        return bytes(converter.convert())
    except Exception as error:
        # The converter raises its own class, which it does not export.
        raise UnsupportedModel(
            f"TensorFlow cannot express the model in TFLite operators: {_first_line(error)}; "
            "replace that layer by supported ones"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
