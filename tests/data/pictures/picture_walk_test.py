#!/usr/bin/env python3
"""A random walk over the oddities of real pictures: what Pillow reads as one still JPEG or PNG is decoded to the same
bytes. What is refused is of a kind that refused_pictures.py lists, and what is cut off is refused.

usage: picture_walk_test.py DECODE_PICTURES RECODE_JPEG [NUM_PICTURES [SEED]]

LOCKSTEP_TEST_PICTURES=DIR   start from the pictures in this folder instead of made ones. Without ImageMagick its part is
skipped by name. Exit code 77 (skipped) without Pillow in the cache.
"""

import os
import pathlib
import sys
import tempfile
import warnings

from pillow_reference import Image, as_pillow, decode, np, planes
from picture_oddities import grey_png, imagemagick, odd_jpeg, odd_magick, odd_png, synthetic
from refused_pictures import REASONS, refused_pictures

warnings.simplefilter("ignore")  # of Pillow, about odd metadata
DECODE, RECODE = sys.argv[1:3]
NUM_PICTURES = int(sys.argv[3]) if len(sys.argv) > 3 else 330
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else 1


def bases():
    """Makes pictures to start from, [H, W, 3]."""
    folder = os.environ.get("LOCKSTEP_TEST_PICTURES")
    if not folder:
        return synthetic
    paths = sorted(
        p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg")
    )

    def real(random):
        picture = np.asarray(Image.open(paths[random.integers(len(paths))]).convert("RGB"))
        height, width = (int(random.integers(1, side + 1)) for side in picture.shape[:2])
        return np.ascontiguousarray(picture[:height, :width])

    return real


def write_pictures(folder, magick):
    """[(path, steps, length)]"""
    base, pictures = bases(), []
    for i in range(NUM_PICTURES):
        random = np.random.default_rng([SEED, i])
        makers = [
            lambda: odd_jpeg(random, base(random), RECODE),
            lambda: odd_png(random, base(random)),
        ]
        if magick and i % 5 == 0:
            makers = [lambda: odd_magick(random, base(random), magick)]
        steps, data, length = makers[random.integers(len(makers))]()
        suffix = ".png" if data.startswith(b"\x89") else ".jpg"
        path = folder / f"{i:04}{suffix}"
        path.write_bytes(data)
        pictures.append((path, steps, length))
    return pictures


def of_pillow(path, channels):
    """Planes, or None where Pillow does not read it as one still picture."""
    try:
        with Image.open(path) as image:
            still = getattr(image, "n_frames", 1) == 1
        return planes(as_pillow(path, channels)) if still else None
    except Exception:  # whatever Pillow says, in many ways, of what it does not read
        return None


def compare(pictures, channels):
    """Asserts; returns path and length of those that both read."""
    results = decode(DECODE, channels, 0, [picture[0] for picture in pictures])
    read, equal, others = [], 0, []
    for (path, steps, length), ours in zip(pictures, results):
        theirs = of_pillow(path, channels)
        if theirs is None:
            continue
        if isinstance(ours, str):
            assert any(words in ours for words in REASONS), f"a new reason to refuse: {ours}"
            others.append(f"{path.name}: {steps}, refused: {ours}")
            continue
        read.append((path, length))
        if ours.shape == theirs.shape and (ours == theirs).all():
            equal += 1
        else:
            others.append(f"{path.name}: {steps}, different")
    of = equal + len(others)
    print(
        f"{channels} channels: Pillow reads {of} of {len(pictures)}; {equal} are equal",
        *others,
        sep="\n  ",
    )
    assert of >= 0.98 * len(pictures), "the walk should be one over pictures that are whole"
    assert equal >= 0.98 * of
    return read


def expect_cut_ones_refused(folder, pictures):
    """Twice each, once close to the end."""
    random = np.random.default_rng(SEED)
    cut = []
    for path, length in pictures:
        for i in range(2 if length else 0):
            cut.append(folder / f"cut-{i}-{path.name}")
            shorter = int(random.integers(length - 40 if i else 1, length))
            cut[-1].write_bytes(path.read_bytes()[:shorter])
    taken = [
        path.name for path, ours in zip(cut, decode(DECODE, 3, 0, cut)) if not isinstance(ours, str)
    ]
    assert not taken, f"cut off and not refused: {taken}"
    print(f"{len(cut)} of them cut off somewhere: all refused")


def expect_refusals(folder):
    """Each kind that is listed is refused by its reason."""
    for i, (words, data, why) in enumerate(refused_pictures()):
        path = folder / f"refused-{i}"
        path.write_bytes(data)
        ours = decode(DECODE, 3, 0, [path])[0]
        assert isinstance(ours, str) and words in ours, (words, ours)
        read = "" if of_pillow(path, 3) is None else "; Pillow reads it"
        print(f"refused: {words} ({why}{read})")


def expect_transparent_grey(folder):
    """A transparent grey of 2, 4 or 16 bits is white by the standard; Pillow takes another grey for it."""
    for depth in (2, 4, 16):
        samples = np.arange(256).reshape(16, 16, 1) * 257 >> 16 - depth
        path = folder / f"transparent-{depth}.png"
        path.write_bytes(grey_png(samples, depth, transparent=int(samples[7, 9, 0])))
        ours = decode(DECODE, 1, 0, [path])[0]
        expected = np.where(samples == samples[7, 9], 255, samples * 255 // (2**depth - 1))
        assert (ours[0] == expected[..., 0]).all(), depth


with tempfile.TemporaryDirectory(prefix="lockstep-pictures-") as name:
    folder = pathlib.Path(name)
    magick = imagemagick()
    if not magick:
        print("skipped: ImageMagick's pictures (Debian package imagemagick)")
    pictures = write_pictures(folder, magick)
    read = compare(pictures, 3)
    compare(pictures, 1)
    expect_cut_ones_refused(folder, read)
    expect_refusals(folder)
    expect_transparent_grey(folder)
