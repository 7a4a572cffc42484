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
        "mse": the range whose int8 numbers differ least, in mean squared error, from the floats
        (geometric mean over the samples).
        Graph inputs always get "minmax": their range is given, not estimated. An end of a graph
        output's range is moved out to the extreme (outliers among the samples left out) where the
        range grows by an eighth at most: a rare large number there, such as the logit of a face,
        is what the network is for, and should not saturate.
    percentile: percent of the values that lie under the upper end (and above the lower end).
    momentum: weight of the past in the moving average, 0 to 1 (1 excluded).
    per_channel: one scale for each output channel of the weights; else one for the whole tensor.
    equalize: rescale channels between neighbouring operators so that each fills its tensor's range.
    bias_correction: add to each bias what quantisation shifted the channel's mean by.
    correction_samples: samples (spread over the calibration's) that bias correction looks at.
    report_samples: samples that the report is measured on; 0 makes an empty report.

    The defaults were chosen on five published float networks (three BlazeFaces, face landmarks,
    iris): mean SQNR over outputs and 24 test pictures, after calibration with 48 others, in dB.

        network      TensorFlow   minmax   average   percentile   mse    defaults
        short range         0.4     -1.6      16.5          8.9   16.9       21.2
        back                5.6      3.7       6.5          7.4    9.4       13.7
        full range         24.6     24.6      21.4         22.7   20.8       27.7
        landmarks          36.0     37.5      30.7         33.0   37.2       35.1
        iris               28.1     28.0      28.6         32.4   35.4       36.6

    ("TensorFlow" is its own post-training quantiser; the middle columns are without equalisation
    and bias correction.) One sample unlike the others can spoil "minmax" altogether.

    Raises ValueError when a value is out of its range.
    """

    method: str = "mse"
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
