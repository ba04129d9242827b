#!/usr/bin/env python3
"""Pillow decodes and torchvision resizes pictures of every kind to the same bytes.

usage: picture_reference_test.py DECODE_PICTURES. Exit code 77 (skipped) without torchvision and Pillow in the cache.
"""

import pathlib
import sys
import tempfile

from pillow_reference import Image, as_pillow, decode, np, planes

try:
    import torchvision.transforms as T
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def write_pictures(folder):
    random = np.random.default_rng(1)

    def picture(width, height):
        """Broad waves with a little noise, as photographs have."""
        y, x = np.mgrid[0:height, 0:width]
        waves = [127 + 90 * np.sin(x / (7 + 3 * c) + c) * np.cos(y / (9 - c)) for c in range(3)]
        return Image.fromarray(
            np.clip(np.stack(waves, -1) + random.normal(0, 9, (height, width, 3)), 0, 255).astype(
                np.uint8
            )
        )

    paths = []

    def save(name, image, **options):
        image.save(folder / name, **options)
        paths.append(folder / name)

    for width, height in [(40, 40), (97, 61), (33, 180), (301, 224), (28, 28), (1, 50)]:
        rgb = picture(width, height)
        size = f"{width}x{height}"
        save(f"rgb-{size}.png", rgb)
        save(f"grey-{size}.png", rgb.convert("L"))
        save(f"palette-{size}.png", rgb.quantize(64))
        save(f"bits-{size}.png", rgb.convert("1"))
        save(f"rgb-{size}.jpg", rgb, quality=90)
        save(f"full-chroma-{size}.jpg", rgb, quality=80, subsampling=0)
        save(f"progressive-{size}.jpg", rgb, quality=75, progressive=True)
        save(f"grey-{size}.jpg", rgb.convert("L"))
        save(f"cmyk-{size}.jpg", rgb.convert("CMYK"), quality=90)
        alpha = Image.fromarray(random.integers(0, 256, (height, width), dtype=np.uint8))
        rgba = rgb.copy()
        rgba.putalpha(alpha)
        save(f"rgba-{size}.png", rgba)
        grey_alpha = rgb.convert("L")
        grey_alpha.putalpha(alpha)
        save(f"grey-alpha-{size}.png", grey_alpha)
        save(f"transparent-{size}.png", rgb.quantize(16), transparency=3)
        save(
            f"grey16-{size}.png",
            Image.fromarray(random.integers(0, 65536, (height, width), dtype=np.uint16)),
        )
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            save(f"exif{orientation}-{size}.jpg", rgb, quality=90, exif=exif)
    return paths


with tempfile.TemporaryDirectory(prefix="lockstep-pictures-") as name:
    paths = write_pictures(pathlib.Path(name))
    for channels in (1, 3):
        for side in (0, 28, 32, 64, 224):
            resize = (
                T.Compose([T.Resize(side), T.CenterCrop(side)]) if side else lambda image: image
            )
            worst, unequal = 0, 0
            for path, ours in zip(paths, decode(sys.argv[1], channels, side, paths)):
                theirs = planes(resize(as_pillow(path, channels)))
                assert ours.shape == theirs.shape, (path.name, side, ours.shape, theirs.shape)
                difference = np.abs(ours - theirs).max()
                assert difference <= 2, (path.name, channels, side, difference)
                worst, unequal = max(worst, difference), unequal + (difference > 0)
            print(
                f"{len(paths)} pictures, {channels} channels, side {side}: {unequal} differ, by {worst} at most"
            )
