"""What other engines need, measured in the same way as ours; quoted on the benchmark page.

Measured on 2026-11-22 with arm-none-eabi-gcc 12.2.1 and QEMU 7.2: executed instructions between two
markers, counted by a TCG plugin. TinyEngine 47bb283 (`-Ofast`, generated code), TF-Lite Micro
90b983c with CMSIS-NN 99f736a (its own default flags).
"""

from __future__ import annotations

from dataclasses import dataclass

TINYENGINE = "TinyEngine"
TINYENGINE_EXACT = "TinyEngine, integer requantisation"
TINYENGINE_PATCHES = "TinyEngine, patches"
TFLM = "TFLM + CMSIS-NN"
TFLM_REFERENCE = "TFLM reference kernels"


@dataclass(frozen=True)
class Anchor:
    """One engine on one model: instructions by core, bytes of SRAM and of flash (with its code)."""

    model: str
    engine: str
    instructions: dict[str, int]
    sram: int | None = None
    flash: int | None = None


MODELS: tuple[Anchor, ...] = (
    Anchor(
        "mcunet_vww", TINYENGINE, {"cortex-m7": 33_454_873, "cortex-m4": 34_747_670},
        93_992, 511_812,
    ),
    Anchor("mcunet_vww", TINYENGINE_EXACT, {"cortex-m7": 41_618_033}, 93_992, 537_928),
    Anchor(
        "mcunet_vww", TINYENGINE_PATCHES, {"cortex-m7": 36_740_780, "cortex-m4": 38_188_897},
        62_352 + 19_200, 514_392,
    ),
    Anchor(
        "mcunet_vww", TFLM,
        {"cortex-m7": 47_861_083, "cortex-m4": 48_591_070, "cortex-m55": 12_000_398},
        219_808, 719_280,
    ),
    Anchor("mcunet_vww", TFLM_REFERENCE, {"cortex-m7": 856_576_687}, 219_744),
    Anchor(
        "mcunetv2_large", TINYENGINE, {"cortex-m7": 500_924_680, "cortex-m4": 515_405_879},
        1_431_784, 1_970_804,
    ),
    Anchor(
        "mcunetv2_large", TINYENGINE_PATCHES,
        {"cortex-m7": 549_058_270, "cortex-m4": 564_180_548}, 444_168 + 150_528, 1_971_660,
    ),
    Anchor(
        "mcunetv2_large", TFLM, {"cortex-m7": 871_274_655, "cortex-m4": 884_526_320},
        2_602_112, 2_401_100,
    ),
    Anchor(
        "mlperf_vww_96_int8", TINYENGINE, {"cortex-m7": 19_720_931, "cortex-m4": 19_711_645},
        60_728, 249_012,
    ),
    Anchor(
        "mlperf_vww_96_int8", TFLM,
        {"cortex-m7": 24_026_549, "cortex-m4": 24_103_060, "cortex-m55": 6_559_462},
        100_708, 426_656,
    ),
    Anchor(
        "mlperf_pretrainedResnet_quant", TFLM,
        {"cortex-m7": 30_026_487, "cortex-m4": 29_863_705, "cortex-m55": 4_912_039},
        54_996, 187_024,
    ),
    Anchor(
        "mlperf_kws_ref_model", TFLM,
        {"cortex-m7": 7_646_067, "cortex-m4": 7_700_306, "cortex-m55": 1_816_232},
        22_820, 147_304,
    ),
    Anchor(
        "mlperf_ad01_int8", TFLM, {"cortex-m7": 583_430, "cortex-m4": 583_179}, 2_580, 316_876
    ),
)  # fmt: skip

# Instructions per MAC on a Cortex-M7, for the shapes of `emulation.models.SHAPES`:
# (CMSIS-NN, TinyEngine), as ranges where several layers were measured.
KERNELS: dict[str, tuple[str, str]] = {
    "conv 3x3 stride 2, 80x80, 3 to 16": ("4.9 to 6.3", "2.0 to 2.3"),
    "conv 3x3 stride 2, 96x96, 3 to 8": ("4.9 to 6.3", "2.0 to 2.3"),
    "conv 1x1, 40x40, 8 to 16": ("6.7", "4.5"),
    "conv 1x1, 40x40, 16 to 8": ("3.9", "3.0"),
    "conv 1x1, 20x20, 16 to 48": ("3.9", "3.0"),
    "conv 1x1, 20x20, 24 to 72": ("3.3", "2.15"),
    "conv 1x1, 20x20, 48 to 16": ("2.25", "1.85"),
    "conv 1x1, 10x10, 144 to 24": ("1.70", "1.83"),
    "conv 3x3, 32x32, 16 to 16": ("2.22", "none"),
    "conv 3x3, 16x16, 32 to 32": ("2.22", "none"),
    "conv 3x3, 8x8, 64 to 64": ("2.22", "none"),
    "depthwise 3x3, 40x40, 16": ("7.9", "6.7"),
    "depthwise 3x3, 10x10, 120": ("7.9", "6.7"),
    "depthwise 3x3 stride 2, 40x40, 48": ("8.2", "7.9"),
    "depthwise 5x5, 20x20, 72": ("8.7", "4.4"),
    "depthwise 5x5 stride 2, 20x20, 72": ("8.5", "5.5"),
    "depthwise 7x7, 10x10, 144": ("7.3", "3.6"),
    "fully connected, 640 to 128": ("2.0 to 3.7", "2.8 to 4.5"),
    "fully connected, 128 to 128": ("2.0 to 3.7", "2.8 to 4.5"),
}

# What we set out to need on a Cortex-M7 at most.
BOUNDS: dict[str, int] = {
    "mcunet_vww": 22_000_000,
    "mlperf_vww_96_int8": 12_500_000,
    "mlperf_pretrainedResnet_quant": 17_000_000,
    "mlperf_kws_ref_model": 4_500_000,
    "mlperf_ad01_int8": 400_000,
    "mcunetv2_large": 345_000_000,
}

# Of the instructions of TF-Lite Micro with CMSIS-NN on a Cortex-M55, at most.
M55_SHARE = 0.70
