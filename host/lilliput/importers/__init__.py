"""Readers of model files: each turns one format into a `lilliput.graph.Graph`."""

from lilliput.importers.keras import read_keras
from lilliput.importers.tflite import read_tflite

__all__ = ["read_keras", "read_tflite"]
