"""Reads the int8 MCUNet that the on-device training paper published (Lin et al., 2022).

The folder that the user names holds three files of mit-han-lab/tinyengine's `assets`:
`mcunet_5fps_int8_params.npz` (per layer: OIHW int8 weights, int32 biases, zero points and the
scales input * weight / output), `mcunet_5fps_scales.json` (scales of activations) and
`tte_49kb_int8_graph.json` (the operators, forward and backward).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.graph import (
    Activation,
    Convolution,
    Graph,
    NoAttributes,
    Operator,
    Quantization,
    Reduce,
    Tensor,
)

PARAMETERS = "mcunet_5fps_int8_params.npz"
SCALES = "mcunet_5fps_scales.json"
OPERATORS = "tte_49kb_int8_graph.json"
_MOST_BIAS = 2**28


@dataclass(frozen=True)
class Published:
    """The three files. `operators` are the forward ones only; `updates` the tensors that the
    published scheme trains, with their shapes (weights: O x I x H x W, I the trained part)."""

    parameters: Mapping[str, np.ndarray]
    scales: Mapping[str, float]
    operators: tuple[Mapping[str, Any], ...]
    updates: Mapping[str, tuple[int, ...]]


def read_published(folder: Path) -> Published:
    """Reads the files. OSError when one is missing."""
    with np.load(folder / PARAMETERS) as archive:
        parameters = {name: archive[name] for name in archive.files}
    scales = json.loads((folder / SCALES).read_text(encoding="utf-8"))
    operators = json.loads((folder / OPERATORS).read_text(encoding="utf-8"))
    updates = {
        output["meta"]["output_info"]: tuple(output["shape"])
        for operator in operators
        for output in operator["outputs"]
        if "output_info" in (output["meta"] or {})
    }
    return Published(parameters, scales, tuple(_forward(operators)), updates)


def _forward(operators: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The operators before the loss."""
    for operator in operators:
        if operator["type"] == "cast":
            return
        yield operator


@dataclass
class _Builder:
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    of_name: dict[str, int] = field(default_factory=dict)

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def activation(self, name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        quantization = Quantization.per_tensor(scale, zero_point)
        index = self.add(Tensor(name, shape, np.dtype(np.int8), quantization=quantization))
        return index


def _nhwc(shape: list[int]) -> tuple[int, ...]:
    return (shape[0], shape[2], shape[3], shape[1])


def build_graph(published: Published) -> Graph:
    """The forward graph: int8, input 1x128x128x3 for pixels of -1 to 1."""
    builder = _Builder()
    first = published.operators[0]["inputs"][0]
    zero = int(published.parameters["v0_zero_x"][0])
    source = builder.activation(
        "input", _nhwc(first["shape"]), published.scales["v0_x_scale"], zero
    )
    builder.of_name["input"] = source
    for operator in published.operators:
        _BUILD[operator["type"]](builder, published, operator)
    last = builder.of_name[published.operators[-1]["outputs"][0]["name"]]
    return Graph(
        tuple(builder.tensors), tuple(builder.operators), (source,), (last,), "mcunet_5fps"
    )


def _convolution(builder: _Builder, published: Published, operator: Mapping[str, Any]) -> None:
    layer = operator["inputs"][1]["name"].removesuffix("_weight")
    weights, bias, scale = _with_dead_channels_folded(
        *(published.parameters[f"{layer}_{part}"] for part in ("weight", "bias", "scale"))
    )
    scale_x = float(published.scales[f"{layer}_x_scale"])
    scale_y = float(published.scales[f"{layer}_y_scale"])
    weight_scale = scale * scale_y / scale_x
    is_depthwise = operator["attrs"]["groups"] > 1
    zeros = np.zeros(len(bias), np.int32)
    kernel = Tensor(
        f"{layer}_weight",
        _stored(weights, is_depthwise).shape,
        np.dtype(np.int8),
        np.ascontiguousarray(_stored(weights, is_depthwise)),
        Quantization(weight_scale.astype(np.float32), zeros, 3 if is_depthwise else 0),
    )
    bias_scale = Quantization((weight_scale * scale_x).astype(np.float32), zeros)
    bias_tensor = Tensor(f"{layer}_bias", bias.shape, np.dtype(np.int32), bias, bias_scale)
    output = operator["outputs"][0]
    zero = int(published.parameters[f"{layer}_zero_y"][0])
    target = builder.activation(layer, _nhwc(output["shape"]), scale_y, zero)
    top, left, bottom, right = operator["attrs"]["padding"]
    attributes = Convolution(
        stride=tuple(operator["attrs"]["strides"]), explicit_padding=(top, bottom, left, right)
    )
    inputs = (
        builder.of_name[operator["inputs"][0]["name"]],
        builder.add(kernel),
        builder.add(bias_tensor),
    )
    kind = "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D"
    builder.operators.append(Operator(kind, inputs, (target,), attributes))
    builder.of_name[output["name"]] = target


def _with_dead_channels_folded(
    weights: np.ndarray, bias: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same outputs with small biases. Batch normalisation has driven the scales of some
    channels to 1e-8 and their biases to the ends of int32: they have one output for all inputs."""
    scale = scale.astype(np.float64)
    is_dead = np.abs(bias.astype(np.int64)) > _MOST_BIAS
    output = np.clip(np.rint(bias * scale), -256, 256)
    return (
        np.where(is_dead[:, None, None, None], 0, weights).astype(np.int8),
        np.where(is_dead, 4 * output, bias).astype(np.int32),
        np.where(is_dead, 0.25, scale),
    )


def _stored(weights: np.ndarray, is_depthwise: bool) -> np.ndarray:
    """OIHW as TFLite has it: OHWI, or 1HWC for a depthwise convolution."""
    return weights.transpose(1, 2, 3, 0) if is_depthwise else weights.transpose(0, 2, 3, 1)


def _add(builder: _Builder, published: Published, operator: Mapping[str, Any]) -> None:
    block = operator["inputs"][2]["name"].removesuffix("_zero_x1")
    output = operator["outputs"][0]
    target = builder.activation(
        block,
        _nhwc(output["shape"]),
        float(published.parameters[f"{block}_scale_y"][0]),
        int(published.parameters[f"{block}_zero_y"][0]),
    )
    sources = tuple(builder.of_name[i["name"]] for i in operator["inputs"][:2])
    builder.operators.append(Operator("ADD", sources, (target,), Activation()))
    builder.of_name[output["name"]] = target


def _mean(builder: _Builder, published: Published, operator: Mapping[str, Any]) -> None:
    source = builder.of_name[operator["inputs"][0]["name"]]
    quantization = builder.tensors[source].quantization
    assert quantization is not None
    output = operator["outputs"][0]
    target = builder.activation(
        "mean",
        _nhwc(output["shape"]),
        float(quantization.scale[0]),
        int(quantization.zero_point[0]),
    )
    builder.operators.append(Operator("MEAN", (source,), (target,), Reduce((1, 2), True)))
    builder.of_name[output["name"]] = target


def _truncate(builder: _Builder, published: Published, operator: Mapping[str, Any]) -> None:
    """The clamp to int8 that every operator of the graph does already."""
    source = builder.of_name[operator["inputs"][0]["name"]]
    builder.of_name[operator["outputs"][0]["name"]] = source


def _reshape(builder: _Builder, published: Published, operator: Mapping[str, Any]) -> None:
    source = builder.of_name[operator["inputs"][0]["name"]]
    output = operator["outputs"][0]
    target = builder.add(
        Tensor(
            "scores",
            tuple(output["shape"]),
            np.dtype(np.int8),
            quantization=builder.tensors[source].quantization,
        )
    )
    builder.operators.append(Operator("RESHAPE", (source,), (target,), NoAttributes()))
    builder.of_name[output["name"]] = target


_BUILD = {
    "nn.mcuconv2d": _convolution,
    "nn.mcuadd": _add,
    "mcumean": _mean,
    "nn.mcutruncate": _truncate,
    "reshape": _reshape,
}


def layer_name(operator: Mapping[str, Any]) -> str | None:
    """The name that `build_graph` gives an operator's output; None where it passes its input on."""
    if operator["type"] == "nn.mcuconv2d":
        return str(operator["inputs"][1]["name"]).removesuffix("_weight")
    if operator["type"] == "nn.mcuadd":
        return str(operator["inputs"][2]["name"]).removesuffix("_zero_x1")
    return "mean" if operator["type"] == "mcumean" else None


def evaluate_operator(
    published: Published, operator: Mapping[str, Any], values: Mapping[str, np.ndarray]
) -> np.ndarray:
    """An operator's output by the published arithmetic, in float64: a convolution is
    round(scale * sum) + zero point, an addition is computed in reals.

    values: int8 [1, H, W, C] by output name. Returns int8 [1, H, W, C].
    """
    source = values[operator["inputs"][0]["name"]]
    if operator["type"] == "nn.mcuconv2d":
        result = _evaluate_convolution(published, operator, source)
    elif operator["type"] == "nn.mcuadd":
        other = values[operator["inputs"][1]["name"]]
        result = _evaluate_add(published, operator, source, other)
    elif operator["type"] == "mcumean":
        result = np.rint(source.astype(np.float64).mean(axis=(1, 2), keepdims=True))
    else:
        result = source
    return np.asarray(np.clip(result, -128, 127).astype(np.int8))


def _evaluate_convolution(
    published: Published, operator: Mapping[str, Any], source: np.ndarray
) -> np.ndarray:
    parameters = published.parameters
    layer = operator["inputs"][1]["name"].removesuffix("_weight")
    weights = parameters[f"{layer}_weight"].astype(np.float64)
    zero_x = int(parameters[f"{layer}_zero_x"][0])
    stride, padding = operator["attrs"]["strides"], operator["attrs"]["padding"]
    top, left, bottom, right = padding
    padded = np.pad(source[0].astype(np.float64) - zero_x, ((top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape[2:], axis=(0, 1))
    windows = windows[:: stride[0], :: stride[1]]
    if operator["attrs"]["groups"] > 1:
        sums = np.einsum("yxchw,chw->yxc", windows, weights[:, 0], optimize=True)
    else:
        sums = np.einsum("yxihw,oihw->yxo", windows, weights, optimize=True)
    scaled = (sums + parameters[f"{layer}_bias"]) * parameters[f"{layer}_scale"].astype(np.float64)
    return np.rint(scaled)[None] + int(parameters[f"{layer}_zero_y"][0])


def _evaluate_add(
    published: Published, operator: Mapping[str, Any], first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    block = operator["inputs"][2]["name"].removesuffix("_zero_x1")
    p = {key: float(published.parameters[f"{block}_{key}"][0]) for key in _ADD_PARAMETERS}
    reals = p["scale_x1"] * (first.astype(np.float64) - p["zero_x1"])
    reals = reals + p["scale_x2"] * (second.astype(np.float64) - p["zero_x2"])
    return np.rint(reals / p["scale_y"]) + p["zero_y"]


_ADD_PARAMETERS = ("zero_x1", "zero_x2", "scale_x1", "scale_x2", "zero_y", "scale_y")
