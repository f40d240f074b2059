"""Seeded damage: bytes of any file, and parts of formats whose checksums would hide it from their readers."""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from corpus import constants_of, png_chunk, unzipped, zip_file

Mutator = Callable[[np.random.Generator, bytes, Sequence[bytes]], bytes]
"""(generator, content, other contents of the kind) -> what a broken disk or a hostile person makes of it."""

INTEGERS = (0, 1, 2, 3, 127, 128, 255, 256, 4096, 65535, 65536, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
VALUES = (None, True, -1, 0, 1, 2, 3, 5, 65536, 10**5, 2**31, 2**63, 10**30, -(2**31), 0.5, -0.0, 1e-320, 1e308)
VALUES += (float("nan"), float("inf"), "", "x", "..", "../x", "/x", "a\nb", "a\0b", "é\u202e", "x" * 999, [], [1], {})
VALUES += ([[]], {"a": 1}, [0] * 50)
TOKENS = ("{", "}", "[", "]", ":", ",", "- ", "\n", "\t", '"', "'", "#", "&a ", "*a", "? ", "| ", "<<: ", "null", "~")
TOKENS += ("!!python/object/apply:os.system ", "!!binary ", "!!set ", "!!timestamp ", ".nan", ".inf", "-1", "1e999")
TOKENS += (
    "2001-99-99",
    "0o9",
    "1" * 5000,
    "\0",
    "\ufeff",
    "\ud7ff",
    "..",
    "../",
    "/",
    "\\",
    "[" * 2000,
    "{a: " * 500,
)
CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT")


def damaged(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    """One wound anywhere, sometimes up to eight."""
    for _ in range(int(rng.choice([1, 1, 1, 1, 2, 3, 8]))):
        content = WOUNDS[rng.integers(len(WOUNDS))](rng, content, others)
    return content


def place(rng: np.random.Generator, content: bytes) -> int:
    """Anywhere, but once in four times in the first 64 bytes, where headers are."""
    return int(rng.integers(min(len(content), 64 if rng.random() < 0.25 else len(content)) or 1))


def flipped(rng, content: bytes, others) -> bytes:
    return replaced(
        content, at := place(rng, content), bytes([byte ^ 1 << rng.integers(8) for byte in content[at:][:1]])
    )


def overwritten(rng, content: bytes, others) -> bytes:
    return replaced(content, place(rng, content), rng.bytes(int(rng.integers(1, 5))))


def with_integer(rng, content: bytes, others) -> bytes:
    number = INTEGERS[rng.integers(len(INTEGERS))]
    size, order = int(rng.choice([1, 2, 4, 8])), ("little", "big")[rng.integers(2)]
    return replaced(content, place(rng, content), (number % 256**size).to_bytes(size, order))


def shifted_integer(rng, content: bytes, others) -> bytes:
    """A number that is there, a little larger or smaller."""
    at, size, order = place(rng, content), int(rng.choice([2, 4])), ("little", "big")[rng.integers(2)]
    number = int.from_bytes(content[at : at + size], order) + int(rng.integers(-9, 10))
    return replaced(content, at, (number % 256**size).to_bytes(size, order))


def cut(rng, content: bytes, others) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def gap(rng, content: bytes, others) -> bytes:
    at = place(rng, content)
    return content[:at] + content[at + int(2 ** rng.integers(9)) :]


def repeated(rng, content: bytes, others) -> bytes:
    at, size = place(rng, content), int(2 ** rng.integers(9))
    return content[:at] + content[at : at + size] * int(rng.integers(2, 9)) + content[at + size :]


def zeroed(rng, content: bytes, others) -> bytes:
    return replaced(content, place(rng, content), bytes([int(rng.choice([0, 255]))]) * int(2 ** rng.integers(9)))


def spliced(rng, content: bytes, others) -> bytes:
    """Its beginning, and the end of another file."""
    other = others[rng.integers(len(others))]
    return content[: place(rng, content)] + other[place(rng, other) :]


WOUNDS = (flipped, overwritten, with_integer, shifted_integer, cut, gap, repeated, zeroed, spliced)


def replaced(content: bytes, at: int, new: bytes) -> bytes:
    """The content with bytes of the same number in another place; what reaches beyond its end is left out."""
    return content[:at] + new[: len(content) - at] + content[at + len(new) :]


def image(rng, content: bytes, others) -> bytes:
    """Damage; of PNG files half of the time a chunk whose CRC is right again."""
    if content[:4] == b"\x89PNG" and rng.random() < 0.5:
        return png(rng, content, others)
    return damaged(rng, content, others)


def png(rng, content: bytes, others) -> bytes:
    chunks, at = [], 8
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += size + 12
    for _ in range(int(rng.integers(1, 3))):
        index, what = rng.integers(len(chunks)), rng.integers(6)
        kind, data = chunks[index]
        if what == 0:
            chunks.insert(rng.integers(len(chunks)), chunks[index])
        elif what == 1 and len(chunks) > 1:
            chunks.pop(index)
        elif what == 2:
            chunks[index] = CHUNKS[rng.integers(len(CHUNKS))], data
        elif what == 3 and data:  # what is compressed, read again and written again
            try:
                chunks[index] = kind, zlib.compress(damaged(rng, zlib.decompress(data), others))
            except zlib.error:
                chunks[index] = kind, damaged(rng, data, others)
        elif data:
            chunks[index] = kind, damaged(rng, data, others)
    return content[:8] + b"".join(png_chunk(kind, data) for kind, data in chunks)


def text(rng, content: bytes, others) -> bytes:
    """Tokens of YAML and JSON where they do not belong, or plain damage."""
    if rng.random() < 0.2:
        return damaged(rng, content, others)
    letters = content.decode("utf-8", "replace")
    for _ in range(int(rng.integers(1, 4))):
        at, gone = int(rng.integers(len(letters) + 1)), int(rng.choice([0, 0, 1, 4, 12]))
        letters = letters[:at] + TOKENS[rng.integers(len(TOKENS))] + letters[at + gone :]
    return letters.encode("utf-8", "surrogatepass")


def json_values(rng, content: bytes, others) -> bytes:
    """JSON, or lines of it, with other values, keys too many or too few; or damaged text."""
    if rng.random() < 0.3:
        return text(rng, content, others)
    lines = content.splitlines() if content.count(b"\n{") else [content]
    index = rng.integers(len(lines))
    lines[index] = json.dumps(changed(rng, json.loads(lines[index]))).encode()
    return b"\n".join(lines)


def changed(rng, tree: Any) -> Any:
    """A tree of lists and dictionaries with one to three changes."""
    for _ in range(int(rng.integers(1, 4))):
        places = list(spots(tree))
        if not places:
            break
        holder, key = places[rng.integers(len(places))]
        what, value = rng.random(), VALUES[rng.integers(len(VALUES))]
        if what < 0.7:
            holder[key] = value
        elif what < 0.8:
            other, where = places[rng.integers(len(places))]
            holder[key] = json.loads(json.dumps(other[where]))
        elif what < 0.9 or isinstance(holder, list):
            del holder[key]
        else:
            holder[str(value)[:30]] = holder[key]
    return tree


def spots(tree: Any):
    """(list or dictionary, key) of everything in a tree."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from spots(value)


def zipped(rng, content: bytes, others) -> bytes:
    """A member of an archive changed and the archive written again, or the archive damaged."""
    if rng.random() < 0.3:
        return damaged(rng, content, others)
    members = unzipped(content)
    name = list(members)[rng.integers(len(members))]
    if name.endswith(".json"):
        members[name] = json_values(rng, members[name], others)
    elif rng.random() < 0.9:
        members[name] = damaged(rng, members[name], others)
    else:
        other = ("../evil", "/evil", "a/../../evil", "assets/x", "évil\n", name + "x")[rng.integers(6)]
        members[other] = members.pop(name) if rng.random() < 0.5 else b"evil"
    return zip_file(members, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[rng.integers(2)])


def shard(rng, content: bytes, others) -> bytes:
    """A tar file damaged, most of the time in a header, whose checksum is right again."""
    if rng.random() < 0.3:
        return damaged(rng, content, others)
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as file:
            headers = [member.offset for member in file]
    except tarfile.TarError:
        return damaged(rng, content, others)
    blocks = bytearray(content)
    at = headers[rng.integers(len(headers))]
    fields = ((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155), (386, 96), (482, 13))
    start, size = fields[rng.integers(len(fields))]
    names = (
        b"../../evil.png",
        b"/tmp/evil.png",
        b"a/../../evil.png",
        b"\xff\xfe.png",
        b"7" * 11,
        b"\x80" + b"\x7f" * 11,
    )
    names += (b"0", b"1", b"2", b"5", b"6", b"L", b"x", b"g", b"S", b"77777777777", rng.bytes(size), b"\0" * size)
    blocks[at + start : at + start + size] = names[rng.integers(len(names))][:size].ljust(size, b"\0")
    blocks[at + 148 : at + 156] = b"        "
    blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + 512])
    return bytes(blocks)


def tflite(rng, content: bytes, others) -> bytes:
    """A number somewhere in a TFLite file's tables, the file written again; or damage."""
    if rng.random() < 0.3:
        return damaged(rng, content, others)
    from ai_edge_litert import schema_py_generated as schema

    from keras_fsr.deploy import packing

    model = schema.ModelT.InitFromPackedBuf(content)
    constants = constants_of(model, content)
    thaw(model)
    places = list(numbers(model))
    for _ in range(int(rng.integers(1, 4))):
        holder, key = places[rng.integers(len(places))]
        old = holder[key] if isinstance(holder, list | np.ndarray) else getattr(holder, key)
        new = (*INTEGERS, -1, -2, -129, int(old) + 1, int(old) - 1)[rng.integers(len(INTEGERS) + 5)]
        if isinstance(holder, list | np.ndarray):
            holder[key] = fitting(np.asarray(holder).dtype, new)
        else:
            setattr(holder, key, type(old)(new))
    try:
        return packing.packed(model, constants)
    except (struct.error, ValueError, OverflowError, TypeError):  # a number that the schema's own code does not take
        return damaged(rng, content, others)


def thaw(table) -> None:
    """Makes the arrays of a table of the schema's writable."""
    for name, value in vars(table).items():
        if isinstance(value, np.ndarray):
            setattr(table, name, value.copy())
        for part in value if isinstance(value, list) else [value]:
            if hasattr(part, "__dict__"):
                thaw(part)


def numbers(table):
    """(table or array, name or index) of the numbers in a table, but those of metadata and of large arrays."""
    for name, value in vars(table).items():
        if name in ("metadata", "data", "description", "signatureDefs"):
            continue
        if isinstance(value, int | float):
            yield table, name
        elif isinstance(value, np.ndarray):
            yield from ((value, index) for index in range(min(value.size, 8)))
        for part in value if isinstance(value, list) else [value]:
            if hasattr(part, "__dict__"):
                yield from numbers(part)


def fitting(dtype: np.dtype, number: int):
    """A number as a type has it, cut to its bits."""
    return (
        np.array(number % 2 ** (8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").view(dtype)
        if dtype.kind in "iu"
        else number
    )
