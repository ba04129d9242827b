"""JPEG and PNG files as odd as people's, made from a seed: pictures that are whole, in uncommon ways.

Each maker returns (steps, bytes, length): what was done, the file, and how much of it from the front is needed (0: unknown).
"""

import io
import struct
import subprocess
import zlib

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SIDES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 65]


def synthetic(random):
    """RGB: broad waves and a gradient with noise, or plain noise, or one colour."""
    height, width = random.choice(SIDES, 2)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack(
        [127 + 90 * np.sin(x / (7 + 3 * c) + c) * np.cos(y / (9 - c)) for c in range(3)], -1
    )
    noise = random.choice([0, 4, 30, 200])
    picture = (waves if random.random() < 0.9 else waves * 0 + random.integers(0, 256)) + x[
        ..., None
    ]
    return np.clip(picture + random.normal(0, noise or 1e-9, picture.shape), 0, 255).astype(
        np.uint8
    )


def chance(random, probability):
    return random.random() < probability


# --- Orientations ---


def exif(random):
    """A TIFF structure with an orientation, written in one of the ways in which programs write it."""
    order = random.choice(["<", ">"])
    kind, letter = [(3, "H"), (3, "H"), (3, "H"), (4, "L"), (9, "l"), (1, "B")][random.integers(6)]
    value = int(random.choice([1, 2, 3, 4, 5, 6, 7, 8, 8, 6, 3, 0, 9]))
    count = int(random.choice([1, 1, 1, 1, 2])) if letter == "H" else 1
    entries = [(0x0112, kind, count, struct.pack(f"{order}{count}{letter}", *[value] * count))]
    if chance(random, 0.5):
        entries.insert(0, (0x010F, 2, 12, b"A maker Ltd\0"))
    if chance(random, 0.3):
        entries.append((0x0128, 3, 1, struct.pack(order + "H", 2)))
    if chance(random, 0.1):
        entries.append((0x0112, 3, 1, struct.pack(order + "H", 5)))  # a second one
    if chance(random, 0.1):
        entries = entries[1:]  # perhaps none
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    body, data = struct.pack(order + "H", len(entries)), b""
    after = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, content in entries:
        place = content.ljust(4, b"\0")
        if len(content) > 4:
            broken = chance(random, 0.1)
            place = struct.pack(order + "L", after + len(data) + 100_000 * broken)
            data += content
        body += struct.pack(order + "HHL", tag, kind, count) + place
    return head + body + bytes(4) + data


def xmp(random):
    value = random.integers(0, 10)
    inner = [
        f'<rdf:Description tiff:Orientation="{value}"/>',
        f"<rdf:Description><tiff:Orientation>{value}</tiff:Orientation></rdf:Description>",
        f"<rdf:Description tiff:Orientation='{value}'/>",
        "<rdf:Description xmp:Rating='5'/>",
    ][random.integers(4)]
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF>{inner}</rdf:RDF></x:xmpmeta>".encode()


# --- JPEG ---


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(data)) + data


def jpeg_segments(random):
    """What stands between the start and the picture's own segments."""
    segments = []
    if chance(random, 0.4):
        tiff = exif(random)
        if chance(random, 0.2):  # in two
            half = len(tiff) // 2
            parts = [segment(0xE1, b"Exif\0\0" + part) for part in (tiff[:half], tiff[half:])]
            segments.append(b"".join(parts))
        else:
            twice = chance(random, 0.1)
            segments.append(segment(0xE1, b"Exif\0\0" * (1 + twice) + tiff))
    if chance(random, 0.3):
        segments.append(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(random)))
    if chance(random, 0.2):
        segments.append(segment(0xFE, random.bytes(40)))
    if chance(random, 0.2):
        segments.append(segment(int(random.integers(0xE2, 0xEE)), b"Ducky" + random.bytes(20)))
    if chance(random, 0.2):
        segments.append(b"\xff" * int(random.integers(1, 4)))  # fill bytes before a marker
    random.shuffle(segments)
    while segments and segments[-1].strip(b"\xff") == b"" and len(segments) > 1:
        segments.insert(0, segments.pop())
    return b"".join(segments)


def recoded(program, how, jpeg):
    return subprocess.run(
        [program, how], input=jpeg, capture_output=True, timeout=20, check=True
    ).stdout


def odd_jpeg(random, picture, recode_program):
    mode = random.choice(["L", "RGB", "RGB", "RGB", "CMYK", "YCCK"])
    image = Image.fromarray(picture).convert("CMYK" if mode == "YCCK" else mode)
    options = {"quality": int(random.choice([1, 10, 50, 75, 90, 95, 100]))}
    if mode == "RGB":
        options["keep_rgb"] = chance(random, 0.15)
        options["subsampling"] = 0 if options["keep_rgb"] else int(random.integers(3))
    options["progressive"] = chance(random, 0.3)
    options["optimize"] = chance(random, 0.3)
    if chance(random, 0.3):
        options[str(random.choice(["restart_marker_blocks", "restart_marker_rows"]))] = int(
            random.integers(1, 5)
        )
    if chance(random, 0.3):
        options["icc_profile"] = SRGB
    if chance(random, 0.3):
        options["dpi"] = (300, 300)
    if chance(random, 0.2):
        options["comment"] = "a comment with \xe9"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    jpeg = buffer.getvalue()
    if mode == "YCCK":  # what Adobe's segment says of the colours
        jpeg = jpeg.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2")
    steps = ["jpeg", mode, *(f"{key}" for key, value in options.items() if value is True)]
    how = ""
    if chance(random, 0.35):
        how = str(random.choice(["arithmetic", "arithmetic-progressive", "scans"]))
        jpeg = recoded(recode_program, how, jpeg)
        steps.append(how)
    jpeg = jpeg[:2] + jpeg_segments(random) + jpeg[2:]
    length, tail = len(jpeg), random.integers(8)
    one_scan = not options["progressive"] and how in ("", "arithmetic")
    if tail == 0:
        steps.append("bytes behind")
        jpeg += random.bytes(50)
    elif tail == 1:
        steps.append("a second picture behind")
        jpeg += jpeg
    elif tail == 2 and one_scan:
        steps.append("a trailer for the end marker")
        jpeg, length = jpeg[:-2] + b"SEFH" + bytes(40) + b"SEFT", 0
    return " ".join(steps), jpeg, length


# --- PNG ---

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]  # fmt: skip


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(row, depth):
    """[W, C] samples as the bytes of a row."""
    if depth == 16:
        return np.frombuffer(row.astype(">u2").tobytes(), np.uint8)
    if depth == 8:
        return row.astype(np.uint8).ravel()
    bits = (row.ravel()[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).ravel())


def filtered(row, above, step, kind):
    left = np.concatenate([np.zeros(step, int), row])[: len(row)]
    corner = np.concatenate([np.zeros(step, int), above])[: len(row)]
    estimate = left + above - corner
    distances = [abs(estimate - left), abs(estimate - above), abs(estimate - corner)]
    paeth = np.choose(np.argmin(distances, 0), [left, above, corner])
    prediction = [0 * row, left, above, (left + above) // 2, paeth][kind]
    return bytes([kind]) + ((row - prediction) % 256).astype(np.uint8).tobytes()


def scanlines(random, samples, depth, interlaced):
    channels = samples.shape[2]
    step = max(1, channels * depth // 8)
    fixed = random.integers(6)  # one filter for all rows, or any
    lines = b""
    for x, y, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[y::dy, x::dx]
        if part.size == 0:
            continue
        above = None
        for row in part:
            row = packed(row, depth).astype(int)
            kind = int(fixed if fixed < 5 else random.integers(5))
            lines += filtered(row, 0 * row if above is None else above, step, kind)
            above = row
    return lines


def text_chunk(random, keyword, text, kinds=(b"tEXt", b"zTXt", b"iTXt")):
    kind = kinds[random.integers(len(kinds))]
    if kind == b"tEXt":
        return chunk(kind, keyword + b"\0" + text)
    if kind == b"zTXt":
        return chunk(kind, keyword + b"\0\0" + zlib.compress(text))
    compressed = chance(random, 0.5)
    body = zlib.compress(text) if compressed else text
    return chunk(kind, keyword + b"\0" + bytes([compressed, 0]) + b"en\0Schluessel\0" + body)


def raw_profile(random):
    data = exif(random)
    if chance(random, 0.5):
        data = b"Exif\0\0" + data
    digits = data.hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return f"\nexif\n{len(data):8}\n{lines}\n".encode()


def png_metadata(random):
    chunks = []
    for probability, make in [
        (0.3, lambda: chunk(b"eXIf", b"Exif\0\0" * chance(random, 0.1) + exif(random))),
        (0.3, lambda: text_chunk(random, b"Raw profile type exif", raw_profile(random))),
        (0.3, lambda: text_chunk(random, b"XML:com.adobe.xmp", xmp(random))),
        (0.2, lambda: text_chunk(random, b"Comment", b'tiff:Orientation="6"')),
        (0.2, lambda: chunk(b"tIME", struct.pack(">HBBBBB", 2024, 2, 29, 1, 2, 3))),
        (0.2, lambda: chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))),
        (0.2, lambda: chunk(b"prVt", random.bytes(30))),
    ]:
        if chance(random, probability):
            chunks.append(make())
    random.shuffle(chunks)
    return chunks


def colour_chunks(random):
    chunks = []
    if chance(random, 0.2):
        chunks.append(chunk(b"gAMA", struct.pack(">I", int(random.choice([45455, 100000])))))
    if chance(random, 0.2):
        chunks.append(chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB)))
    elif chance(random, 0.2):
        chunks.append(chunk(b"sRGB", b"\0"))
    return b"".join(chunks)


def png_samples(random, picture):
    """(colour type, depth, samples [H, W, C], chunks of palette and transparency)"""
    colour, depth = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 8), (2, 16), (3, 1), (3, 2),
                     (3, 4), (3, 8), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)][random.integers(17)]  # fmt: skip
    grey = picture[..., :1].astype(int)
    alpha = random.choice([0, 255, *random.integers(0, 256, 6)], grey.shape)
    rgb = picture.astype(int)
    chunks = b""
    if colour == 3:
        most = 2**depth
        size = int(random.integers(max(1, most // 2), most + 1))
        samples = grey * size // 256
        chunks = chunk(b"PLTE", random.bytes(3 * size))
        if chance(random, 0.4):
            chunks += chunk(b"tRNS", random.bytes(int(random.integers(1, size + 1))))
    else:
        samples = {0: [grey], 2: [rgb], 4: [grey, alpha], 6: [rgb, alpha]}[colour]
        samples = np.concatenate(samples, -1)
        if depth == 16:
            samples = samples * 257 ^ random.integers(0, 256, samples.shape)
        samples = samples >> max(0, 8 - depth)
        # A transparent colour, where Pillow compares it with the samples as they are stored.
        if colour in (0, 2) and depth in (1, 8) and chance(random, 0.3):
            chunks = chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes())
    return colour, depth, samples, chunks


def odd_png(random, picture):
    colour, depth, samples, chunks = png_samples(random, picture)
    interlaced = chance(random, 0.4)
    height, width = samples.shape[:2]
    stream = zlib.compress(
        scanlines(random, samples, depth, interlaced), int(random.integers(0, 10))
    )
    pieces = int(random.choice([1, 1, 2, 5]))
    cuts = sorted(random.integers(0, len(stream) + 1, pieces - 1))
    data = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]
    metadata = png_metadata(random)
    behind = int(random.integers(0, len(metadata) + 1)) if chance(random, 0.3) else 0
    steps = [f"png colour {colour} depth {depth}"] + ["interlaced"] * interlaced
    steps += ["transparent"] * (b"tRNS" in chunks)
    png = b"\x89PNG\r\n\x1a\n"
    png += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    png += colour_chunks(random)
    if chance(random, 0.07):
        steps.append("a single frame")
        png += chunk(b"acTL", struct.pack(">II", 1, 0))
        frame = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)
        png += chunk(b"fcTL", frame)
    png += chunks + b"".join(metadata[behind:])
    png += b"".join(chunk(b"IDAT", piece) for piece in data)
    png += b"".join(metadata[:behind]) + chunk(b"IEND")
    length = len(png)
    if chance(random, 0.1):
        steps.append("bytes behind")
        png += random.bytes(50)
    return " ".join(steps), png, length


def grey_png(samples, depth, transparent):
    height, width = samples.shape[:2]
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(">H", transparent)),
            chunk(
                b"IDAT", zlib.compress(scanlines(np.random.default_rng(1), samples, depth, False))
            ),
            chunk(b"IEND"),
        ]
    )


# --- ImageMagick ---


def imagemagick():
    """Its command, or None; other programs are called convert, too."""
    for command in ("magick", "convert"):
        try:
            text = subprocess.run([command, "-version"], capture_output=True, timeout=20).stdout
        except OSError:
            continue
        if text.startswith(b"Version: ImageMagick"):
            return command
    return None


def odd_magick(random, picture, command):
    height, width = picture.shape[:2]
    options = []
    if chance(random, 0.5):
        kind = "jpg"
        options += ["-quality", str(random.choice([5, 60, 92, 100]))]
        sampling = random.choice(["4x1", "1x2", "2x1", "3x1", "1x1", "2x2", "1x4"])
        options += ["-sampling-factor", str(sampling)]
        options += ["-interlace", "JPEG"] if chance(random, 0.3) else []
        options += ["-colorspace", str(random.choice(["sRGB", "sRGB", "Gray", "CMYK"]))]
        options += ["-define", "jpeg:optimize-coding=off"] if chance(random, 0.3) else []
    else:
        kind = "png"
        colour = int(random.choice([0, 2, 3, 4, 6]))
        depth = random.choice({0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8]}.get(colour, [8, 16]))
        options += ["-define", f"png:color-type={colour}", "-define", f"png:bit-depth={depth}"]
        options += ["-colors", str(2 ** int(depth))] if colour == 3 else []
        options += ["-interlace", "PNG"] if chance(random, 0.4) else []
        if colour in (3, 4, 6):
            options += ["-alpha", "set", "-channel", "A", "-evaluate", "multiply", "0.4"]
            options += ["+channel"]
    options += ["-orient", str(random.choice(["TopLeft", "RightTop", "BottomLeft"]))]
    options += ["-set", "comment", "made in a test"] if chance(random, 0.3) else []
    made = subprocess.run(
        [command, "-size", f"{width}x{height}", "-depth", "8", "rgb:-", *options, f"{kind}:-"],
        input=picture.tobytes(),
        capture_output=True,
        timeout=20,
        check=True,
    ).stdout
    return " ".join(["ImageMagick", kind, *options[1::2]]), made, len(made)
