"""Two costly helpers of the sellers: a description made shorter, and the lines of text in a photographed page.

Both are small and real: sentences are chosen by the weight of their words (Luhn's method), and lines are found by the
horizontal projection of dark pixels, the first step of every reader of text.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from typing import Any, Final

from aiohttp import web

from examples.marketplace.requests import read_object, text_of, whole_number

COMMON_WORDS: Final = frozenset(
    "a an and are as at be but by for from has have in is it its of on or our that the their this to was with".split()
)
SIGNATURES: Final = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"P5": "pgm"}

routes = web.RouteTableDef()


@routes.post("/api/ai/describe")
async def describe(request: web.Request) -> web.Response:
    """`{"text": "...", "sentences": 2}` -> the sentences that say the most, in their own order."""
    form = await read_object(request)
    count = whole_number(form.get("sentences", 2), "sentences", least=1, most=20)
    text = text_of(form, "text")
    return web.json_response({"description": await asyncio.to_thread(summarise, text, count)})


@routes.post("/api/ocr")
async def ocr(request: web.Request) -> web.Response:
    """The bytes of an image -> its checksum and format; of a grey image (PGM, P5) also how many lines of text."""
    return web.json_response(await asyncio.to_thread(inspect_image, await request.read()))


def summarise(text: str, count: int) -> str:
    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence]
    words = [[word for word in re.findall(r"\w+", s.lower()) if word not in COMMON_WORDS] for s in sentences]
    weight = Counter(word for sentence in words for word in sentence)

    def score(index: int) -> float:
        # The mean rather than the sum, or the longest sentence would always win.
        return sum(weight[word] for word in words[index]) / (len(words[index]) or 1)

    chosen = sorted(sorted(range(len(sentences)), key=score, reverse=True)[:count])
    return " ".join(sentences[index] for index in chosen)


def inspect_image(content: bytes) -> dict[str, Any]:
    kind = next((name for start, name in SIGNATURES.items() if content.startswith(start)), "unknown")
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "format": kind,
        "text_lines": _text_lines(content) if kind == "pgm" else None,
    }


def _text_lines(content: bytes) -> int | None:
    """How many runs of rows hold a pixel darker than half, or None when the image is not what it says."""
    head = re.match(rb"P5\s+(\d{1,5})\s+(\d{1,5})\s+(\d{1,3})\s", content)
    if head is None:
        return None
    width, height, white = (int(number) for number in head.groups())
    pixels = content[head.end() :]
    if not width or len(pixels) < width * height:
        return None
    dark = [min(pixels[row * width : (row + 1) * width]) < white / 2 for row in range(height)]
    return sum(is_dark and not (row and dark[row - 1]) for row, is_dark in enumerate(dark))
