"""Every colour of the pictures; they stay apart for colour-blind readers, and on light and dark pages."""

from __future__ import annotations

import math

INK = "#1b1f24"
SECONDARY = "#57606a"  # on a card
MUTED = "#7d8590"  # outside the cards, readable on white and on black
EDGE = "#7d8590"
PANEL = "#7d859066"
MODULE = "#7d85901a"
MODULE_BORDER = "#7d859055"
NOT_FINITE = "#b8400e"
CHIP = "#ffffff"  # of a gradient that has no place on the scale

Pair = tuple[str, str]  # border, ground
ONLY_A: Pair = ("#b8400e", "#fdeee6")
ONLY_B: Pair = ("#0072b2", "#e3f0fa")
ALERT: Pair = (NOT_FINITE, "#fdeee6")
CARDS: dict[str, Pair] = {
    "input": ("#56b4e9", "#d9ecf9"),
    "parameter": ("#e69f00", "#fdeccb"),
    "constant": ("#8b949e", "#eceff2"),
    "op": ("#8b949e", "#ffffff"),
    "module": ("#8b949e", "#ffffff"),
    "target": ("#8b949e", "#eceff2"),
}
DASHED = ("target",)

# The cividis colour map (Nunez, Anderton & Renslow 2018) at 0, 0.1, ..., 1.
_CIVIDIS = (
    (0, 34, 78), (8, 51, 112), (53, 69, 108), (79, 87, 108), (102, 105, 112), (125, 124, 120),
    (148, 142, 119), (174, 163, 113), (200, 184, 102), (229, 207, 82), (254, 232, 56),
)  # fmt: skip
SCALE = (-5, 0)  # powers of ten: the ends of the colour scale


def cividis(position: float) -> str:
    """The colour at a position from 0 to 1 of the map, as #rrggbb."""
    at = min(max(position, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    i = min(int(at), len(_CIVIDIS) - 2)
    mixed = (round(a + (b - a) * (at - i)) for a, b in zip(_CIVIDIS[i], _CIVIDIS[i + 1], strict=True))
    return "#" + "".join(f"{c:02x}" for c in mixed)


def of_gradient(rms: float) -> str:
    """The colour of a positive gradient on the logarithmic scale."""
    low, high = SCALE
    return cividis((math.log10(rms) - low) / (high - low))


def ink_on(color: str) -> str:
    """Black or white, whichever stands out more from this colour: a contrast of 4.5 at least (WCAG 2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
