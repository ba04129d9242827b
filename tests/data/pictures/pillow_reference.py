"""What Pillow makes of pictures, and what decode_pictures does."""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from reference_packages import add_reference_packages

add_reference_packages()
try:
    import numpy as np
    from PIL import Image, ImageOps
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def decode(program, channels, side, paths):
    """Planes [C, H, W] of each picture, or the reason why it is refused, as text. side 0: not resized."""
    result = subprocess.run(
        [program, str(channels), str(side), *map(str, paths)], capture_output=True, timeout=100
    )
    assert result.returncode == 0, result.stderr
    pictures, rest = [], result.stdout
    reasons = iter(result.stderr.decode(errors="replace").splitlines())
    while rest:
        header, rest = rest.split(b"\n", 1)
        if header == b"error":
            pictures.append(next(reasons))
            continue
        c, h, w = map(int, header.split())
        pictures.append(np.frombuffer(rest[: c * h * w], np.uint8).reshape(c, h, w).astype(int))
        rest = rest[c * h * w :]
    assert len(pictures) == len(paths)
    return pictures


def as_pillow(path, channels):
    """What Pillow makes of it: upright, over white, RGB or L."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    if image.mode.startswith(
        "I"
    ):  # 16 bits of grey, which Pillow would clip; of colour it keeps the upper 8
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("L" if channels == 1 else "RGB")


def planes(image):
    array = np.asarray(image).astype(int)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
