"""Damages image files in every way, and reads them: each must end in an image or in a DataError.

    scripts/torture images [--count 5000] [--seed 0]

The files are of every kind in tests/pictures.py. Each case is drawn from the seed and its number: a file, one to three
damages (bits, bytes, pieces taken out, doubled, swapped, cut; chunks of PNGs and segments of JPEGs, their check sums
mended or not; headers that lie), and is decoded in all ways that we have. Batches of cases run in processes of their
own, so that a death is found, and named with its case; so are a hang, an image that is none, and any other exception.
"""

import argparse
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

from bagoftricks.rng import Key
from tests.pictures import SIGNATURE, chunk, every_kind

MAX_PIXELS = 250_000  # of an image in a case: the memory that a case may take follows from it
MOST_SECONDS, MOST_MIB = 10, 400  # of a case; of a process beyond what it had before
BATCH = 1000
ODD = (0, 1, 2, 3, 7, 8, 9, 16, 31, 32, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


def damaged(data, draw):
    """The bytes after one damage."""
    data = bytearray(data)
    kind = draw.choice(
        ["bits", "bytes", "zeros", "cut", "out", "double", "swap", "insert", "odd", "odd", "pieces", "pieces"]
    )
    at, length = int(draw.integers(len(data))), int(draw.integers(1, 65))
    if kind == "bits":
        for place in draw.integers(len(data), size=draw.integers(1, 9)):
            data[place] ^= 1 << int(draw.integers(8))
    elif kind == "bytes":
        data[at : at + length] = draw.bytes(len(data[at : at + length]))
    elif kind == "zeros":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == "cut":
        del data[at:]
    elif kind == "out":
        del data[at : at + length]
    elif kind == "double":
        data[at:at] = data[at : at + length]
    elif kind == "swap":
        other = int(draw.integers(len(data)))
        data[at : at + 8], data[other : other + 8] = data[other : other + 8], data[at : at + 8]
    elif kind == "insert":
        data[at:at] = draw.bytes(length)
    elif kind == "odd":  # a number of the header, most often
        at = int(draw.integers(min(len(data), draw.choice([32, 64, 4096]))))
        number = int(draw.choice(ODD))
        form = draw.choice([">I", "<I", ">H", "<H", "B"])
        number &= 256 ** struct.calcsize(form) - 1
        data[at : at + struct.calcsize(form)] = struct.pack(form, number)
    else:
        return kind, in_pieces(bytes(data), draw)
    return kind, bytes(data)


def in_pieces(data, draw):
    """Chunks of a PNG, or segments of a JPEG, taken out, doubled, swapped or damaged; PNGs' check sums are mended."""
    pieces = list(split_up(data))
    for _ in range(draw.integers(1, 3)):
        if not pieces:
            break
        i, j = (int(place) for place in draw.integers(len(pieces), size=2))
        how = draw.choice(["out", "double", "swap", "inside", "inside"])
        if how == "out":
            del pieces[i]
        elif how == "double":
            pieces.insert(j, pieces[i])
        elif how == "swap":
            pieces[i], pieces[j] = pieces[j], pieces[i]
        elif body := bytearray(pieces[i]):
            body[int(draw.integers(len(body)))] = int(draw.integers(256))
            pieces[i] = bytes(body)
    if data.startswith(SIGNATURE):
        return SIGNATURE + b"".join(chunk(piece[:4], piece[4:]) for piece in pieces)
    return b"".join(pieces)


def split_up(data):
    """A PNG's chunks (kind and data), a JPEG's pieces between markers, other files' pieces of 16 bytes."""
    if data.startswith(SIGNATURE):
        at = len(SIGNATURE)
        while at + 8 <= len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            yield data[at + 4 : at + 8 + length]
            at += 12 + length
    elif data.startswith(b"\xff\xd8"):
        first, *rest = data.split(b"\xff")
        yield first
        yield from (b"\xff" + piece for piece in rest)
    else:
        yield from (data[at : at + 16] for at in range(0, len(data), 16))


def case(seed, number, sources):
    """The kind of file, the damages, and the bytes of one case."""
    draw = Key(seed).fold("torture", number).numpy()
    name = list(sources)[number % len(sources)]
    data, kinds = sources[name], []
    for _ in range(draw.integers(1, 4)):
        if data:
            kind, data = damaged(data, draw)
            kinds.append(str(kind))
    if data.startswith(SIGNATURE) and draw.integers(2):
        data = in_order(data)
    return name, "+".join(kinds), data


def in_order(data):
    """A PNG with the check sums that belong to its chunks, and its pixels, as far as they can be read."""
    mended = SIGNATURE
    for piece in split_up(data):
        body = piece[4:]
        if piece[:4] == b"IDAT":
            with suppress(zlib.error):
                body = zlib.compress(zlib.decompressobj().decompress(body))
        mended += chunk(piece[:4], body)
    return mended


def outcome(path):
    """``decoded`` or ``refused``, by all ways of decoding; anything else is raised."""
    import torch

    from bagoftricks.data.decode import decode, decode_on
    from bagoftricks.data.decode_part import Wanted, decode_part, decode_scaled
    from bagoftricks.data.image_file import ImageFile
    from bagoftricks.errors import DataError

    file, images, uppers = ImageFile(path, MAX_PIXELS), [], []
    for how in ("whole", "upper", "scaled", "there"):
        try:
            if how == "whole":
                images.append(decode(file))
            elif how == "upper":
                uppers.append(decode_part(file, Wanted(lambda height, width: (0, 0, height // 2, width))))
            elif how == "scaled":
                decode_scaled(file, Wanted(lambda height, width: (0, 0, height, width), 4))
            else:
                bits = torch.frombuffer(file.read()[1], dtype=torch.uint8)
                images += [
                    image
                    for image in decode_on(torch.device("cpu"), [(file, bits)])
                    if not isinstance(image, DataError)
                ]
        except DataError as error:
            if Path(path).name not in str(error):
                raise AssertionError("the file is not named") from error
    for image in images:
        assert (image.dtype, image.ndim, len(image)) == (torch.uint8, 3, 3), image.shape
        assert 0 < image[0].numel() <= MAX_PIXELS, image.shape
    assert (len(images), len(uppers)) in ((0, 0), (2, 1)), "decoded in one way alone"
    if images:
        assert torch.equal(*images), "two ways of decoding give two images"
        (pixels, height) = uppers[0]
        assert height == images[0].shape[1], "another height"
        assert torch.equal(pixels[:, : height // 2], images[0][:, : height // 2]), "other upper rows"
    return "decoded" if images else "refused"


def carry_out(seed, start, count):
    """Read the cases of a batch, in this process, with a line for each on standard output before and after."""
    sources = every_kind()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "case.image")
        Path(path).write_bytes(sources["jpeg RGB"])
        outcome(path)
        before = peak_mib()
        for number in range(start, start + count):
            name, damages, data = case(seed, number, sources)
            Path(path).write_bytes(data)
            print(json.dumps([number, name, damages]), flush=True)
            signal.alarm(2 * MOST_SECONDS)  # ends the process where a decoder hangs
            began = time.monotonic()
            try:
                result = outcome(path)
            except Exception as error:
                result = f"{type(error).__name__}: {error}"
            if time.monotonic() - began > MOST_SECONDS:
                result = f"{time.monotonic() - began:.0f} s"
            if peak_mib() - before > MOST_MIB:
                result, before = f"{peak_mib() - before:.0f} MiB", peak_mib()
            print(json.dumps(result), flush=True)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def torture(count, seed, start=0):
    """Counts of outcomes by format, and a line for each case that ended in another way."""
    counts, faults, number = Counter(), [], start
    while number < start + count:
        batch = min(BATCH, start + count - number)
        program = [sys.executable, "-m", "tests.torture_images", "batch", str(seed), str(number), str(batch)]
        done = subprocess.run(
            program, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        for (which, name, damages), result in zip(lines[::2], lines[1::2], strict=False):
            counts[name.split()[0], result if result in ("decoded", "refused") else "fault"] += 1
            if result not in ("decoded", "refused"):
                faults.append(f"case {which}, {name}, {damages}: {result}")
        if not lines:
            raise RuntimeError(done.stderr)
        number += len(lines) // 2
        if done.returncode:
            how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit {done.returncode}"
            last = lines[-1] if len(lines) % 2 else "none"
            faults.append(f"{last}: {how} {done.stderr[-2000:]}")
            counts["process", "died"] += 1
            number += 1
    return counts, faults


def main():
    if sys.argv[1:2] == ["batch"]:
        return carry_out(*map(int, sys.argv[2:5]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts, faults = torture(given.count, given.seed)
    for (name, result), number in sorted(counts.items()):
        print(f"{name:8} {result:8} {number:7,}")
    print(f"{sum(counts.values()):,} files, {len(faults)} faults", *faults, sep="\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
