"""Damage to files: blind in bytes, and by structure in JSON and TOML. The same generator gives the same damage."""

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

NUMBERS = (0, 1, -1, 2, 7, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 10**9, 10**18)
_DEEP: list[Any] = []
for _ in range(90):
    _DEEP = [_DEEP]
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 3, 17, 64, 10**9, 2**63, 10**30, -(10**30)),
    *(0.0, -0.5, 0.1, 1e-300, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "a", "x" * 5000, "\x00", "\ud800", "é", "../../x", "/etc/passwd", "/vsimem/x", "/vsizip/x", "tu-hf-hub:a/b", "%s{0}", "1e9"),
    *("4GB", "1e99GB", "EPSG:32645", "EPSG:-1", "nan", "-1", "crop", "exact", "2024-01-01T00:00:00Z", "#ffffff", "weights.pkl"),
    *([], {}, [None], [1, 2, 3], [[[]]], {"a": {}}, ["x"] * 50, [0.5, 0.5], {"checkpoint_path": "weights.pkl"}, _DEEP),
)


def damage_bytes(content: bytes, rng: random.Random, head: int = 600) -> bytes:
    """Change one to eight places, most of them near the beginning."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not data:
            break
        reach = min(len(data), head) if rng.random() < 0.7 else len(data)
        rng.choice(_BYTE_DAMAGE)(data, rng.randrange(reach), rng)
    return bytes(data)


def _flip(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _set(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data: bytearray, at: int, rng: random.Random) -> None:
    size, code = rng.choice(((2, "H"), (4, "I"), (8, "Q")))
    value = rng.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = struct.pack(rng.choice("<>") + code, value)


def _real(data: bytearray, at: int, rng: random.Random) -> None:
    data[at : at + 8] = struct.pack("<d", rng.choice((float("nan"), float("inf"), -1e308, 1e308, 0.0, 1e-308, -1.0)))


def _cut(data: bytearray, at: int, rng: random.Random) -> None:
    del data[at : at + rng.choice((1, 4, 16, 200))]


def _truncate(data: bytearray, at: int, rng: random.Random) -> None:
    del data[max(at, rng.randrange(len(data))) :]


def _repeat(data: bytearray, at: int, rng: random.Random) -> None:
    data[at:at] = data[at : at + rng.choice((1, 4, 12, 100))]


_BYTE_DAMAGE: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    *(_flip, _flip, _set, _set, _number, _number, _number, _real),
    *(_cut, _truncate, _repeat),
)


def damage_tree(tree: Any, rng: random.Random) -> Any:
    """Change one to four places of tables and lists within each other; the tree itself stays as it is."""
    changed = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 2, 4))):
        _damage_place(changed, rng)
    return changed


def _damage_place(tree: Any, rng: random.Random) -> None:
    places = [(holder, key) for holder, key in _places(tree)]
    if not places:
        return
    holder, key = rng.choice(places)
    how = rng.random()
    if how < 0.65:
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    elif how < 0.75:
        del holder[key]
    elif how < 0.9:
        other, name = rng.choice(places)
        if name in other if isinstance(other, dict) else name < len(other):
            holder[key] = json.loads(json.dumps(other[name]))
    elif isinstance(holder, dict):
        holder[rng.choice(("x", "", "raster", "outputs", "objects", "sites", key.upper()))] = copy.deepcopy(rng.choice(VALUES))
    else:
        holder.extend(holder[:20])


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return every holder with a key of its own."""
    if isinstance(tree, dict):
        own: list[tuple[Any, Any]] = [(tree, key) for key in tree]
    elif isinstance(tree, list):
        own = [(tree, index) for index in range(len(tree))]
    else:
        return []
    return own + [place for holder, key in own for place in _places(holder[key])]


def write_toml(table: dict[str, Any]) -> str:
    """Write a table as TOML, tables within it in one line; TOML has no null, so that it becomes text that is none."""
    return "".join(f"{_key(name)} = {_toml(value)}\n" for name, value in table.items())


def _key(name: str) -> str:
    return json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)
