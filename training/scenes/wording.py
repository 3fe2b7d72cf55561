"""The wordings of captions: for every fact of an image, the phrases that express it.

The tokenizer and the weights of the built-in model were trained on these words.
"""

from __future__ import annotations

MOODS = (
    "serene",
    "peaceful",
    "calm",
    "tranquil",
    "quiet",
    "beautiful",
    "pretty",
    "scenic",
    "lovely",
    "majestic",
    "wide",
)
STYLES = (
    "flat vector illustration", "digital art", "minimalist", "highly detailed", "vector art", "concept art",
    "wallpaper", "4k", "stylized", "trending", "soft colors", "oil painting", "8k", "masterpiece",
)  # fmt: skip
MEDIA = ("a painting of ", "an illustration of ", "a picture of ", "a photo of ", "an image of ", "a drawing of ")
WHEN = {
    "sunrise": (
        "at sunrise",
        "at dawn",
        "in the morning",
        "in the early morning",
        "during sunrise",
        "in morning light",
    ),
    "day": ("during the day", "at noon", "in daylight", "on a sunny day", "on a bright day", "in the afternoon", ""),
    "sunset": ("at sunset", "at sunset", "during sunset", "at golden hour", "in the evening", "under a setting sun"),
    "dusk": ("at dusk", "at twilight", "after sunset", "during twilight", "in the dusk"),
    "night": ("at night", "at night", "by night", "at midnight", "under a night sky", "in the dark night"),
}
# Phrases for a day without sun.
GRAY_DAY = ("during the day", "at noon", "in daylight", "in the afternoon", "")
NOUNS = {
    "sunrise": ("sunrise", "dawn"), "day": ("sunny day",), "sunset": ("sunset",),
    "dusk": ("dusk", "twilight"), "night": ("night",),
}  # fmt: skip
WEATHER_ADJECTIVES = {
    "cloudy": ("cloudy", "overcast"), "snowy": ("snowy", "winter"),
    "rainy": ("rainy", "stormy"), "foggy": ("foggy", "misty"),
}  # fmt: skip
WEATHER_PHRASES = {
    "cloudy": ("with clouds", "under a cloudy sky", "with cloudy sky"),
    "snowy": ("in winter", "in the snow", "with falling snow", "covered in snow"),
    "rainy": ("in the rain", "on a rainy day", "with rain"),
    "foggy": ("in the fog", "in the mist", "with fog"),
}
PLACES = {
    ("mountains", "lake"): (
        "mountain lake", "mountain lake", "lake in the mountains", "alpine lake", "lake with mountains",
        "lake surrounded by mountains", "lake below snowy peaks", "mountains reflected in a lake",
    ),
    ("mountains", "none"): (
        "mountains", "mountain range", "mountain landscape", "snow capped mountains", "mountain valley",
    ),
    ("mountains", "river"): (
        "river in the mountains", "mountain river", "river flowing through a mountain valley", "mountains and a river",
    ),
    ("hills", "none"): ("hills", "rolling hills", "green hills", "countryside"),
    ("hills", "lake"): ("lake between hills", "lake in the hills", "hills and a lake"),
    ("hills", "river"): ("river through the hills", "hills with a river"),
    ("desert", "none"): ("desert", "sand dunes", "desert dunes", "sandy desert"),
    ("beach", "sea"): ("beach", "sandy beach", "beach by the sea", "tropical beach", "seashore", "coast"),
    ("sea", "sea"): ("sea", "ocean", "open sea", "calm ocean", "seascape"),
    ("forest", "none"): ("forest", "pine forest", "woods", "forest of pine trees"),
    ("forest", "lake"): ("forest lake", "lake in the forest", "lake surrounded by pine trees"),
    ("forest", "river"): ("river in the forest", "forest river"),
    ("meadow", "none"): ("meadow", "flower meadow", "field of flowers", "grassy field"),
    ("meadow", "river"): ("river in a meadow", "meadow with a river"),
    ("city", "none"): ("city", "city skyline", "skyline", "downtown skyline"),
    ("city", "lake"): ("city by the water", "city skyline reflected in the water", "city skyline by a lake"),
}  # fmt: skip
OBJECTS = {
    "balloon": ("hot air balloon", "hot-air balloon", "balloon"), "sailboat": ("sailboat", "sailing boat", "boat"),
    "house": ("house", "cabin", "cottage"), "birds": ("birds", "a flock of birds", "flying birds"),
    "moon": ("the moon", "a full moon", "moon"), "stars": ("stars", "a starry sky", "bright stars"),
    "sun": ("the sun", "a bright sun"), "cactus": ("a cactus", "cactus"),
}  # fmt: skip
# Objects whose phrases get no article: they have one, or need none.
WITHOUT_ARTICLE = ("birds", "moon", "stars", "sun", "cactus", "pine trees")
PLURALS = ("mountains", "hills", "dunes", "woods")
