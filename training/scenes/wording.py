"""The wordings of captions: for every fact of an image, the phrases that express it.

The tokenizer and the weights of the built-in model are trained on these words, British and American.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

# Other names of the twelve colours.
SYNONYMS = {
    "red": ("crimson", "scarlet", "ruby", "bright red"),
    "orange": ("tangerine", "bright orange"),
    "yellow": ("golden", "gold", "lemon yellow", "bright yellow"),
    "green": ("emerald", "emerald green"),
    "blue": ("royal blue", "navy", "cobalt blue", "navy blue"),
    "purple": ("violet",),
    "pink": ("rose", "hot pink"),
    "brown": ("chestnut", "chocolate brown"),
    "black": ("jet black", "pitch black"),
    "white": ("snow white", "pure white", "ivory"),
    "gray": ("silver",),
    "cyan": ("turquoise", "aqua", "sky blue", "light blue"),
}
# Share of colours with another name.
RENAMED = 0.17
# Ways to ask for {x}, with their relative frequencies.
REQUESTS = {
    "draw {x}": 3, "draw me {x}": 2, "please draw {x}": 2, "{x} please": 2, "{x}, please": 1, "can you draw {x}?": 2,
    "could you paint {x}?": 1, "could you draw {x}": 1, "show me {x}": 2, "i want {x}": 2, "i would like {x}": 1,
    "give me {x}": 1, "generate {x}": 1, "create {x}": 1, "make {x}": 1, "paint {x}": 1, "paint me {x}": 1,
    "please make {x}": 1, "create an image of {x}": 2, "generate an image of {x}": 1, "can i have {x}?": 1,
    "there is {x}": 4, "it shows {x}": 1, "i see {x}": 1, "please paint {x}.": 1, "draw me {x} please": 2,
    "i'd like {x}": 1, "imagine {x}": 1, "let me see {x}": 1, "make a picture of {x}": 1, "would you draw {x}?": 1,
}  # fmt: skip
# Words that say nothing about the content, so that such words in a prompt do little harm.
MOODS = (
    "serene", "peaceful", "calm", "tranquil", "quiet", "beautiful", "pretty", "scenic", "lovely", "majestic", "wide",
    "dreamy", "cosy", "cozy", "colourful", "colorful", "vibrant", "magical", "stunning", "epic", "lonely",
)  # fmt: skip
LITTLE = ("little", "small", "old", "lonely", "cosy", "cozy", "tiny", "pretty", "single", "nice", "cute")
STYLES = (
    "flat vector illustration", "digital art", "minimalist", "highly detailed", "vector art", "concept art",
    "wallpaper", "4k", "stylized", "trending", "soft colors", "oil painting", "8k", "masterpiece", "hd", "flat design",
    "vivid colours", "autumn colours", "soft light", "best quality", "high resolution", "cartoon style", "simple",
)  # fmt: skip
MEDIA = (
    "a painting of ", "an illustration of ", "a picture of ", "a photo of ", "an image of ", "a drawing of ",
    "a photograph of ", "a view of ", "a poster of ", "a flat illustration of ", "vector art of ", "an artwork of ",
)  # fmt: skip
WHEN = {
    "sunrise": (
        "at sunrise", "at sunrise", "at dawn", "in the morning", "in the early morning", "during sunrise",
        "in morning light", "at daybreak", "at first light", "as the sun rises", "early in the morning",
    ),
    "day": (
        "during the day", "at noon", "in daylight", "on a sunny day", "on a bright day", "in the afternoon", "",
        "at midday", "in the daytime", "by day", "in bright sunshine", "on a clear day",
        "under a blue sky", "with a blue sky",
    ),
    "sunset": (
        "at sunset", "at sunset", "at sunset", "during sunset", "at golden hour", "in the evening",
        "under a setting sun", "at sundown", "as the sun sets", "in evening light", "during the golden hour",
    ),
    "dusk": (
        "at dusk", "at dusk", "at twilight", "after sunset", "during twilight", "in the dusk", "at nightfall",
        "after sundown", "in the blue hour",
    ),
    "night": (
        "at night", "at night", "at night", "by night", "at midnight", "under a night sky", "in the dark night",
        "at nighttime", "at night-time", "after dark", "late at night", "in the middle of the night", "on a dark night",
    ),
}  # fmt: skip
# Phrases for a day without sun.
GRAY_DAY = ("during the day", "at noon", "in daylight", "in the afternoon", "", "at midday", "in the daytime", "by day")
# Names of a night by what is in its sky.
LIT_BY = {
    "moon": ("in the moonlight", "under the moon", "by moonlight"),
    "stars": ("under a starry sky", "under the stars", "on a starry night"),
}
LIT_NOUNS = {"moon": ("moonlit night",), "stars": ("starry night", "starry sky")}
LIT_ADJECTIVES = {"moon": ("moonlit",), "stars": ("starry",)}
NOUNS = {
    "sunrise": ("sunrise", "sunrise", "dawn", "daybreak", "morning"),
    "day": ("sunny day", "bright day", "daytime", "noon"),
    "sunset": ("sunset", "sunset", "sundown", "evening", "golden hour"),
    "dusk": ("dusk", "twilight", "nightfall"),
    "night": ("night", "night", "night time", "midnight", "nighttime"),
}
GRAY_NOUNS = ("day", "daytime", "noon")
TIME_ADJECTIVES = {
    "sunrise": ("sunrise", "morning", "early morning", "dawn"),
    "day": ("daytime", "midday", "sunny", "sunny"),
    "sunset": ("sunset", "evening"),
    "dusk": ("twilight", "dusk"),
    "night": ("night-time", "nighttime", "night", "midnight", "dark"),
}
WEATHER_ADJECTIVES = {
    "cloudy": ("cloudy", "overcast"), "snowy": ("snowy", "winter", "wintry", "snow-covered"),
    "rainy": ("rainy", "stormy", "wet"), "foggy": ("foggy", "misty", "hazy"),
}  # fmt: skip
WEATHER_PHRASES = {
    "cloudy": ("with clouds", "under a cloudy sky", "with cloudy sky", "on a cloudy day", "under clouds", "clouds"),
    "snowy": ("in winter", "in the snow", "with falling snow", "covered in snow", "in snow", "while it snows", "snow"),
    "rainy": ("in the rain", "on a rainy day", "with rain", "in heavy rain", "in rainy weather", "while it rains"),
    "foggy": ("in the fog", "in the mist", "with fog", "in thick fog", "on a misty day", "in mist", "fog"),
}
WEATHER_NOUNS = {
    "cloudy": ("clouds", "cloudy sky"), "snowy": ("snow", "winter"), "rainy": ("rain", "storm"),
    "foggy": ("fog", "mist"),
}  # fmt: skip
PLACES = {
    ("mountains", "lake"): (
        "mountain lake", "mountain lake", "lake in the mountains", "alpine lake", "lake with mountains",
        "lake surrounded by mountains", "lake below snowy peaks", "mountains reflected in a lake",
        "mountains and a lake", "lake in front of mountains", "mountains by a lake", "mountains and lake",
    ),
    ("mountains", "none"): (
        "mountains", "mountains", "mountain range", "mountain landscape", "snow capped mountains", "mountain valley",
        "snow-capped mountains", "mountain peaks", "mountain", "high mountains", "alpine landscape", "alps",
        "mountain view",
    ),
    ("mountains", "river"): (
        "river in the mountains", "mountain river", "river flowing through a mountain valley", "mountains and a river",
        "mountain stream", "mountains with a river", "stream in the mountains", "alpine river",
    ),
    ("hills", "none"): (
        "hills", "rolling hills", "green hills", "countryside", "grassy hills", "gentle hills", "hilly landscape",
        "rolling countryside",
    ),
    ("hills", "lake"): ("lake between hills", "lake in the hills", "hills and a lake", "lake in the countryside"),
    ("hills", "river"): ("river through the hills", "hills with a river", "river in the countryside"),
    ("desert", "none"): ("desert", "desert", "sand dunes", "desert dunes", "sandy desert", "dunes", "desert landscape"),
    ("beach", "sea"): (
        "beach", "beach", "sandy beach", "beach by the sea", "tropical beach", "seashore", "coast", "seaside", "shore",
        "sea shore", "sandy shore", "coastline", "beach by the ocean",
    ),
    ("sea", "sea"): ("sea", "sea", "ocean", "ocean", "open sea", "calm ocean", "seascape", "open ocean"),
    ("forest", "none"): (
        "forest", "forest", "pine forest", "woods", "forest of pine trees", "woodland", "pine woods",
        "evergreen forest", "fir forest",
    ),
    ("forest", "lake"): (
        "forest lake", "lake in the forest", "lake surrounded by pine trees", "lake in the woods", "forest and a lake",
    ),
    ("forest", "river"): (
        "river in the forest", "forest river", "river in the woods", "stream in the forest", "forest with a river",
    ),
    ("meadow", "none"): (
        "meadow", "flower meadow", "field of flowers", "grassy field", "field", "meadow full of flowers",
        "wildflower meadow", "flower field", "grassland",
    ),
    ("meadow", "river"): ("river in a meadow", "meadow with a river", "stream in a meadow", "meadow and a river"),
    ("city", "none"): (
        "city", "city", "city skyline", "skyline", "downtown skyline", "skyscrapers", "cityscape", "tall buildings",
        "city with skyscrapers", "big city", "urban skyline", "town",
    ),
    ("city", "lake"): (
        "city by the water", "city skyline reflected in the water", "city skyline by a lake", "city by a lake",
        "skyscrapers by the water", "waterfront skyline", "cityscape by the water",
    ),
}  # fmt: skip
# Words that are false under snow.
SUMMER = ("flower", "green", "grass", "sandy", "tropical")
KEYWORDS = {
    "mountains": ("mountains", "mountain"), "hills": ("hills", "countryside"), "desert": ("desert", "dunes"),
    "beach": ("beach", "coast", "seaside"), "sea": ("sea", "ocean"), "forest": ("forest", "woods", "pine trees"),
    "meadow": ("meadow", "field"), "city": ("city", "skyline", "skyscrapers"),
    "lake": ("lake", "water"), "river": ("river", "stream"),
}  # fmt: skip
OBJECTS = {
    "balloon": ("hot air balloon", "hot air balloon", "hot-air balloon", "balloon"),
    "sailboat": ("sailboat", "sailboat", "sailing boat", "boat", "yacht", "sail boat", "sailing ship"),
    "house": ("house", "house", "cabin", "cottage", "hut", "home"),
    "car": ("car", "car", "automobile", "motorcar", "auto", "motor car"),
    "birds": ("birds", "birds", "a flock of birds", "flying birds", "some birds", "birds in the sky"),
    "full moon": ("the moon", "a full moon", "moon", "moonlight", "full moon"),
    "crescent moon": ("the moon", "moon", "a crescent moon", "crescent moon", "half moon"),
    "stars": ("stars", "a starry sky", "bright stars", "many stars"),
    "sun": ("the sun", "a bright sun", "sun"), "cactus": ("a cactus", "cactus"),
    "pine trees": ("pine trees", "pines", "fir trees", "evergreen trees"),
    "tree": ("tree", "tree", "big tree", "leafy tree"), "palm tree": ("palm tree", "palm tree", "palm"),
}  # fmt: skip
# Objects whose phrases get no article: they have one, or need none.
WITHOUT_ARTICLE = ("birds", "moon", "stars", "sun", "cactus", "pine trees")
# Objects in the sky, and objects that stand on the ground.
IN_THE_SKY = ("balloon", "birds", "moon", "stars", "sun")
STANDING = ("house", "car", "lighthouse", "tree", "palm tree", "cactus", "pine trees")
# Nouns without an article; plurals have none either.
UNCOUNTED = ("countryside", "woodland", "grassland", "downtown")


def with_article(words: str) -> str:
    """Return the words with "a" or "an" before them."""
    words = words.strip()
    return ("an " if words[0] in "aeiou" else "a ") + words


def choose_weighted(table: Mapping[str, int], rng: random.Random) -> str:
    """Return one key of a table of relative frequencies."""
    return rng.choices(list(table), list(table.values()))[0]


def phrase_color(color: str, rng: random.Random) -> str:
    """Return one of the colour's names, most often the usual one."""
    if color == "gray" and rng.random() < 0.45:
        return "grey"
    return rng.choice(SYNONYMS[color]) if rng.random() < RENAMED else color
