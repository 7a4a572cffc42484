"""Post-training quantisation of float graphs to int8, by TFLite's 8-bit specification.

Per-channel symmetric int8 weights, int32 biases, asymmetric int8 activations whose ranges come from
calibration samples run in LiteRT. Layers whose accuracy allows it get weights of four bits.
"""

from lilliput.quantize.int4_layers import (
    Int4Layer,
    Int4Options,
    Int4Report,
    choose_int4_layers,
)
from lilliput.quantize.options import METHODS, Options
from lilliput.quantize.quantizer import quantize
from lilliput.quantize.report import Layer, Report

__all__ = [
    "METHODS",
    "Int4Layer",
    "Int4Options",
    "Int4Report",
    "Layer",
    "Options",
    "Report",
    "choose_int4_layers",
    "quantize",
]
