"""Post-training quantisation of float graphs to int8, by TFLite's 8-bit specification.

Per-channel symmetric int8 weights, int32 biases, asymmetric int8 activations whose ranges come from
calibration samples run in LiteRT.
"""

from lilliput.quantize.options import METHODS, Options
from lilliput.quantize.quantizer import quantize
from lilliput.quantize.report import Layer, Report

__all__ = ["METHODS", "Layer", "Options", "Report", "quantize"]
