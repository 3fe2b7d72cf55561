"""The mark of generated images: metadata that says that an image, or a part of it, was made by a model.

The fields are those of the IPTC Photo Metadata Standard 2025.1, in an XMP packet: Digital Source Type, AI System Used,
AI System Version Used and AI Prompt Information. Search engines, archives and editors read them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from PIL import PngImagePlugin

PNG_XMP = "XML:com.adobe.xmp"  # the keyword of the iTXt chunk (XMP Specification, part 3, section 1.1.5)
MAX_JPEG_XMP = 65_502  # bytes of a packet in JPEG, which must fit into one segment (section 1.1.3)
SYSTEM = "tintype"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
NAMESPACE = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{namespace}">\n'
    "{fields}"
    "</rdf:Description></rdf:RDF></x:xmpmeta>\n"
    '<?xpacket end="r"?>'
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What an image's mark says.

    `composite`: the image is an edit of an image that the client sent. `model` and `prompt` are not written if they are
    empty.
    """

    composite: bool = False
    model: str = ""
    prompt: str = ""


def packet(mark: Mark, limit: int | None = None) -> bytes:
    """Return the XMP packet of a mark; the prompt is cut until it fits into `limit` bytes."""
    encoded = _packet(mark)
    while limit and mark.prompt and len(encoded) > limit:
        mark = replace(mark, prompt=mark.prompt[: len(mark.prompt) // 2])
        encoded = _packet(mark)
    return encoded


def add_to_png(mark: Mark, info: PngImagePlugin.PngInfo) -> None:
    """Add the chunk with the packet of a mark."""
    info.add_itxt(PNG_XMP, packet(mark).decode())


def _packet(mark: Mark) -> bytes:
    values = {
        "DigitalSourceType": SOURCE_TYPES + (COMPOSITE if mark.composite else GENERATED),
        "AISystemUsed": f"{SYSTEM}, model {mark.model}" if mark.model else SYSTEM,
        "AISystemVersionUsed": _version(),
        "AIPromptInformation": mark.prompt,
    }
    fields = (
        f"<Iptc4xmpExt:{name}>{escape(_allowed(value))}</Iptc4xmpExt:{name}>\n"
        for name, value in values.items()
        if value
    )
    return _PACKET.format(namespace=NAMESPACE, fields="".join(fields)).encode()


def _allowed(text: str) -> str:
    """Return `text` without the characters that XML 1.0 forbids: control characters, surrogates, U+FFFE and U+FFFF."""
    return "".join(each for each in text if each in "\t\n\r" or (each >= " " and not _is_forbidden(ord(each))))


def _is_forbidden(code: int) -> bool:
    return 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF)


@cache
def _version() -> str:
    """Return the version of this package; empty if it is not installed."""
    try:
        return version(SYSTEM)
    except PackageNotFoundError:
        return ""
