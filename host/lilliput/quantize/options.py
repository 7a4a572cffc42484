"""How a float graph is quantised."""

from __future__ import annotations

from dataclasses import dataclass

METHODS = ("minmax", "average", "percentile", "mse")


@dataclass(frozen=True)
class Options:
    """Choices of post-training quantisation.

    method: how the range of an activation is found from the calibration samples.
        "minmax": the least and the greatest value of all samples.
        "average": a moving average of each sample's least and greatest value.
        "percentile": as many of all values lie inside as `percentile` says; the rest saturates.
        "mse": the range whose int8 numbers differ least, in mean squared error, from the floats.
        Graph inputs always get "minmax": their range is given, not estimated.
    percentile: percent of the values that lie under the upper end (and above the lower end).
    momentum: weight of the past in the moving average, 0 to 1 (1 excluded).
    per_channel: one scale for each output channel of the weights; else one for the whole tensor.
    equalize: rescale channels between neighbouring operators so that each fills its tensor's range.
    bias_correction: add to each bias what quantisation shifted the channel's mean by.
    correction_samples: samples (spread over the calibration's) that bias correction looks at.
    report_samples: samples that the report is measured on; 0 makes an empty report.

    Raises ValueError when a value is out of its range.
    """

    method: str = "minmax"
    percentile: float = 99.99
    momentum: float = 0.9
    per_channel: bool = True
    equalize: bool = True
    bias_correction: bool = True
    correction_samples: int = 32
    report_samples: int = 4

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; choose one of {', '.join(METHODS)}")
        if not 50.0 < self.percentile <= 100.0:
            raise ValueError(f"percentile {self.percentile} must lie above 50 and up to 100")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum {self.momentum} must lie between 0 and 1 (1 excluded)")
        if self.correction_samples < 1:
            raise ValueError(f"correction_samples is {self.correction_samples}, at least 1 needed")
        if self.report_samples < 0:
            raise ValueError(f"report_samples is {self.report_samples}, it cannot be negative")
