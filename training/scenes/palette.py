"""The twelve named colours, and the light of each time of day and weather.

A colour is three integers, 0 to 255, in sRGB. Colours are mixed in sRGB, as in flat illustration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "red": (220, 40, 45),
    "orange": (245, 135, 30),
    "yellow": (250, 215, 50),
    "green": (45, 160, 75),
    "blue": (40, 95, 215),
    "purple": (130, 55, 170),
    "pink": (245, 130, 180),
    "brown": (125, 80, 45),
    "black": (22, 22, 26),
    "white": (248, 248, 248),
    "gray": (140, 142, 148),
    "cyan": (60, 200, 215),
}
WHITE: Color = (255, 255, 255)


def mix(a: Color, b: Color, share: float) -> Color:
    """Return `a` mixed with a `share` (0 to 1) of `b`."""
    return (
        int(a[0] + (b[0] - a[0]) * share),
        int(a[1] + (b[1] - a[1]) * share),
        int(a[2] + (b[2] - a[2]) * share),
    )


def dim(color: Color, by: tuple[float, float, float]) -> Color:
    """Return the colour with red, green and blue multiplied by `by`; 1 is daylight."""
    return int(color[0] * by[0]), int(color[1] * by[1]), int(color[2] * by[2])


@dataclass(frozen=True)
class Light:
    """The light of a scene, which changes every colour in it.

    `top`, `middle` and `horizon` are the colours of the sky, `disc` of the sun or the moon, `rock` of mountains.
    `lamp` multiplies red, green and blue of surfaces; `haze` (0 to 1) mixes them with the horizon.
    """

    top: Color
    middle: Color
    horizon: Color
    lamp: tuple[float, float, float]
    disc: Color
    rock: Color
    haze: float = 0.0

    def shade(self, color: Color) -> Color:
        """Return the colour of a surface in this light, seen through the haze."""
        return mix(dim(color, self.lamp), self.horizon, self.haze)

    def shade_bright(self, color: Color) -> Color:
        """Like `shade`, but brighter: balloons, cars and sails must keep their named colour at night."""
        lamp = self.lamp
        return dim(color, (0.58 + 0.42 * lamp[0], 0.58 + 0.42 * lamp[1], 0.58 + 0.42 * lamp[2]))


# The palettes of each time: top, middle and horizon of the sky, lamp, disc and rock.
LIGHTS: dict[str, tuple[Light, ...]] = {
    "sunrise": (
        Light((108, 150, 215), (246, 190, 190), (255, 226, 170), (1.0, 0.90, 0.84), (255, 246, 205), (120, 110, 165)),
        Light((146, 132, 206), (248, 172, 184), (255, 214, 186), (1.0, 0.88, 0.88), (255, 240, 214), (132, 100, 158)),
        Light((92, 176, 206), (214, 216, 190), (255, 220, 138), (1.0, 0.94, 0.80), (255, 248, 196), (104, 120, 150)),
        Light((126, 146, 232), (224, 186, 222), (255, 206, 200), (0.98, 0.90, 0.92), (255, 250, 226), (124, 112, 178)),
    ),
    "day": (
        Light((52, 132, 226), (120, 186, 244), (206, 234, 252), (1.0, 1.0, 1.0), (255, 240, 150), (88, 116, 160)),
        Light((36, 160, 222), (112, 206, 236), (214, 242, 240), (1.0, 1.0, 0.97), (255, 240, 150), (96, 120, 140)),
        Light((88, 154, 232), (156, 202, 246), (236, 240, 246), (1.0, 0.99, 0.98), (255, 240, 150), (112, 118, 156)),
        Light((28, 104, 206), (84, 166, 236), (180, 222, 248), (1.0, 1.0, 1.0), (255, 240, 150), (78, 100, 150)),
    ),
    "sunset": (
        Light((76, 48, 128), (226, 88, 96), (255, 186, 84), (0.84, 0.58, 0.56), (255, 226, 130), (82, 44, 98)),
        Light((112, 40, 116), (238, 86, 112), (255, 170, 118), (0.86, 0.56, 0.62), (255, 236, 160), (98, 40, 92)),
        Light((150, 48, 60), (236, 104, 48), (255, 206, 88), (0.88, 0.60, 0.46), (255, 240, 150), (104, 44, 62)),
        Light((58, 66, 140), (196, 104, 138), (255, 172, 96), (0.80, 0.58, 0.60), (255, 228, 140), (66, 52, 106)),
    ),
    "dusk": (
        Light((34, 32, 88), (96, 66, 140), (214, 124, 150), (0.50, 0.44, 0.66), (250, 236, 220), (52, 42, 92)),
        Light((24, 46, 98), (74, 92, 156), (206, 140, 156), (0.46, 0.48, 0.66), (250, 240, 224), (44, 54, 98)),
        Light((52, 28, 86), (128, 62, 128), (226, 128, 122), (0.54, 0.42, 0.60), (252, 236, 214), (64, 38, 88)),
    ),
    "night": (
        Light((6, 10, 36), (18, 28, 74), (44, 62, 118), (0.34, 0.38, 0.58), (246, 244, 224), (22, 28, 60)),
        Light((4, 20, 40), (12, 44, 74), (34, 84, 112), (0.30, 0.42, 0.54), (246, 246, 230), (16, 38, 60)),
        Light((20, 8, 44), (40, 24, 84), (78, 54, 126), (0.38, 0.36, 0.60), (248, 242, 226), (36, 24, 66)),
    ),
}
# The share of overcast grey in the sky, and the brightness of the ground.
OVERCAST = {"cloudy": 0.35, "rainy": 0.62, "foggy": 0.55, "snowy": 0.45}
GROUND = {"rainy": 0.78}
HAZE = {"foggy": 0.38}


def make_light(time: str, weather: str, palette: int = 0) -> Light:
    """Return the light of a time of day and a weather, for example "sunset" and "cloudy", in one of its palettes."""
    clear = LIGHTS[time][palette % len(LIGHTS[time])]
    if weather == "clear":
        return clear
    share, ground = OVERCAST[weather], GROUND.get(weather, 1.0)
    lamp = clear.lamp
    horizon = mix(clear.horizon, _gray(215, lamp), share)
    return replace(
        clear,
        top=mix(clear.top, _gray(150, lamp), share),
        middle=mix(clear.middle, _gray(180, lamp), share),
        horizon=horizon,
        rock=mix(clear.rock, horizon, 0.15),
        lamp=(lamp[0] * ground, lamp[1] * ground, lamp[2] * ground),
        haze=HAZE.get(weather, 0.0),
    )


def _gray(level: int, lamp: tuple[float, float, float]) -> Color:
    warm = int(level * lamp[0] ** 0.7)
    return warm, warm, int((level + 10) * lamp[2] ** 0.7)
