"""Bodies that nobody would send to ``/predict``: seeded, and made of what its document says is taken."""

import gzip
import json
import random
from typing import Any

TYPES = [
    "", "application/json", "application/json; charset=utf-8", "APPLICATION/JSON;CHARSET=UTF-8", "text/csv",
    "text/plain", "text/plain; charset=latin-1", "image/png", "image/jpeg", "image/webp", "image/gif",
    "application/octet-stream", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=B",
    'multipart/form-data; boundary="B"', "multipart/form-data; boundary=" + "B" * 71, "multipart/mixed; boundary=B",
    "font/ttf", "x", ";;;", 'a/b; c="', "text/csv; charset=utf-16",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 1e308, 2**63, 10**400, "", "NaN", "Infinity", "2024-02-30", "a" * 5000, "\ud800", "\0", [],
    {}, [[]], [None] * 100, [[1, 2], [3]], {"x": {"x": 1}}, "data:image/png;base64,", "data:,", "AAAA", "\u2028", 0.1,
    [0] * 1000,
]  # fmt: skip
PIECES = [
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"\xef\xbb\xbf", b"{",
    b"[" * 100, b'"', b",", b"\n", b"\r\n", b'"\n"', b"=", b"&", b"%zz", b"--B\r\n", b"--B--", b"\r\n--B\r\n", b"\0",
    b"\xff\xfe", b"1" * 300, b'Content-Disposition: form-data; name="x"\r\n\r\n',
    b"Content-Type: multipart/mixed; boundary=B\r\n", b"Content-Transfer-Encoding: base64\r\n", b"NaN", b"null",
    b"\\ud800",
]  # fmt: skip


def list_examples(document: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Return the bodies that a server's OpenAPI document shows, with their media types, and some like them."""
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    found = []
    for media_type, body in content.items():
        examples = [example["value"] for example in body.get("examples", {}).values()]
        for example in [*examples, *([body["example"]] if "example" in body else [])]:
            text = json.dumps(example) if media_type == "application/json" else example
            found.append((media_type, text.encode()))
    for media_type, data in list(found):
        found.append(("multipart/form-data; boundary=B", make_form([("file", "x", media_type, data)])))
        document_ = json.loads(data) if media_type == "application/json" else None
        if isinstance(document_, dict):
            fields = [(name, "", "", json.dumps(value).encode()) for name, value in document_.items()]
            found.append(("multipart/form-data; boundary=B", make_form(fields)))
    return found


def make_form(parts: list[tuple[str, str, str, bytes]], boundary: str = "B") -> bytes:
    """Make multipart/form-data of parts: name, file's name, media type and content."""
    lines = []
    for name, file, media_type, content in parts:
        more = f'; filename="{file}"' if file else ""
        kind = f"Content-Type: {media_type}\r\n" if media_type else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{kind}\r\n'
        lines.append(head.encode() + content + b"\r\n")
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


def make_question(seed: str, examples: list[tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """Make a body and its headers."""
    chance = random.Random(seed)
    media_type, body = chance.choice(examples)
    change = chance.choice([keep, garble, garble, replace_value, replace_value, make_noise, join_pieces, cut, repeat])
    body = change(body, chance)
    kind = media_type if chance.random() < 0.6 else chance.choice(TYPES)
    headers = {"Content-Type": kind} if kind else {}
    if chance.random() < 0.1:
        headers["Accept"] = chance.choice(["text/csv", "*/*", "text/csv;q=0", "image/png", "text/csv, */*"])
    if chance.random() < 0.05:
        body = gzip.compress(body) if chance.random() < 0.7 else body
        headers["Content-Encoding"] = chance.choice(["gzip", "deflate", "br"])
    return body, headers


def keep(body: bytes, _: random.Random) -> bytes:
    """Change nothing."""
    return body


def garble(body: bytes, chance: random.Random) -> bytes:
    """Change, put in or leave out some bytes."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(changed))
        changed[at : at + chance.randint(0, 8)] = chance.choice([chance.randbytes(4), chance.choice(PIECES)])
    return bytes(changed)


def replace_value(body: bytes, chance: random.Random) -> bytes:
    """Put another value at some place of a JSON document."""
    try:
        document = json.loads(body)
    except ValueError:
        return garble(body, chance)
    root = {"": document}
    place: Any = root
    key: Any = ""
    while isinstance(place[key], dict | list) and place[key] and chance.random() < 0.8:
        place = place[key]
        key = chance.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
    place[key] = chance.choice(VALUES)
    return json.dumps(root[""]).encode()


def make_noise(_: bytes, chance: random.Random) -> bytes:
    """Make bytes of no meaning."""
    return chance.randbytes(chance.choice([0, 1, 10, 1000, 100_000]))


def join_pieces(_: bytes, chance: random.Random) -> bytes:
    """Join what bodies of all kinds are made of."""
    return b"".join(chance.choices(PIECES, k=chance.randint(1, 30)))


def cut(body: bytes, chance: random.Random) -> bytes:
    """Leave out the end."""
    return body[: chance.randint(0, len(body))]


def repeat(body: bytes, chance: random.Random) -> bytes:
    """Send a body many times over, or nest it deeply."""
    times = chance.choice([2, 100, 2000])
    return body * times if chance.random() < 0.5 else b"[" * times + body + b"]" * times
