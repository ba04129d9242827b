"""The kinds of pictures that are refused, a file of each, and why."""

import io
import struct

import numpy as np
from PIL import Image

from picture_oddities import chunk

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def saved(kind, **options):
    buffer = io.BytesIO()
    PICTURE.save(buffer, kind, **options)
    return buffer.getvalue()


def refused_pictures():
    """[(words of the refusal, the file, why)]"""
    jpeg, png = saved("JPEG"), saved("PNG")
    progressive = saved("JPEG", progressive=True)
    restarts = saved("JPEG", restart_marker_rows=1)
    lost = restarts.index(b"\xff\xd1")
    animated = saved("PNG", save_all=True, append_images=[PICTURE.rotate(90)])
    data = png.index(b"IDAT") - 4
    large = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    palette = chunk(b"PLTE", b"\xff\0\0")
    return [
        ("animated PNG", animated, "which frame is meant is not known"),
        ("the PNG is cut off", png[:-12], "without its last chunk it looks like half a download"),
        ("the PNG is damaged", png[:data] + 2 * palette + png[data:], "it has two palettes"),
        ("the PNG is damaged", png[: data + 9] + b"\0" + png[data + 10 :], "a checksum is wrong"),
        ("the JPEG is cut off", jpeg[:-2], "nothing stands where the end marker should be"),
        ("the JPEG is cut off", progressive[:-2] + b"SEFT" * 9, "scans may be missing"),
        ("the JPEG is damaged", jpeg[: len(jpeg) // 2] + b"\xff\xd9", "half of it is grey"),
        ("the JPEG is damaged", restarts[:lost] + restarts[lost + 2 :], "a marker is lost"),
        ("a GIF; only PNG", saved("GIF"), "another kind"),
        ("a BMP picture; only PNG", saved("BMP"), "another kind"),
        ("a WebP picture; only PNG", saved("WEBP"), "another kind"),
        ("a TIFF picture; only PNG", saved("TIFF"), "another kind"),
        ("a Netpbm picture; only PNG", saved("PPM"), "another kind"),
        (
            "decompression bomb",
            png[:8] + chunk(b"IHDR", large) + png[33:],
            "over 100 million pixels",
        ),
    ]


REASONS = {words for words, _, _ in refused_pictures()}
