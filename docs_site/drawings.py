"""The drawings of how.md as SVG: ``python docs_site/drawings.py docs/drawings`` writes them."""

import sys
from collections.abc import Callable
from pathlib import Path

_WIDTH, _HEIGHT = 760, 300
_INK, _PALE, _TEAL, _RED, _BLUE, _YELLOW, _GREEN = "#1c2430", "#9aa4b1", "#00897b", "#c62828", "#4477aa", "#e0a800", "#7cb342"
_FRAME = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="13">'


def rect(x: float, y: float, width: float, height: float, **style: object) -> str:
    """Return a rectangle."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{_style(style)}/>'


def line(points: list[tuple[float, float]], **style: object) -> str:
    """Return a line through points."""
    return f'<path d="M{" L".join(f"{x:g} {y:g}" for x, y in points)}"{_style({"fill": "none", **style})}/>'


def text(x: float, y: float, words: str, **style: object) -> str:
    """Return words."""
    return f'<text x="{x:g}" y="{y:g}"{_style({"fill": _INK, **style})}>{words}</text>'


def _style(style: dict[str, object]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())


def draw_tiles() -> list[str]:
    """Draw a raster, its cores, one tile with its halo, and one chunk."""
    side, left, top = 60, 20, 20
    parts = [rect(left, top, 6 * side, 4 * side, fill="#eef3f2", stroke=_INK, stroke_width=2)]
    parts += [line([(left + i * side, top), (left + i * side, top + 4 * side)], stroke=_PALE) for i in range(1, 6)]
    parts += [line([(left, top + i * side), (left + 6 * side, top + i * side)], stroke=_PALE) for i in range(1, 4)]
    parts.append(rect(left + 3 * side, top, 3 * side, 3 * side, fill=_BLUE, fill_opacity=0.12, stroke=_BLUE, stroke_width=2.5))
    x, y, halo = left + side, top + 2 * side, 22
    parts.append(
        rect(x - halo, y - halo, side + 2 * halo, side + 2 * halo, fill=_TEAL, fill_opacity=0.18, stroke=_TEAL, stroke_dasharray="5 3")
    )
    parts.append(rect(x, y, side, side, fill=_TEAL, fill_opacity=0.55, stroke=_TEAL))
    words = [
        (_INK, "raster: its cores share it out, each pixel to one"),
        (_TEAL, "core: what is kept of a tile"),
        (_TEAL, "dashed: the tile, what the network sees;"),
        (_TEAL, "its margin is the halo and is thrown away"),
        (_BLUE, "chunk: some tiles, read, done and written"),
        (_BLUE, "together; a broken run goes on with the next"),
    ]
    return parts + [text(395, 50 + 26 * i, told, fill=color) for i, (color, told) in enumerate(words)]


def draw_halo() -> list[str]:
    """Draw why a tile needs a margin: the field of a pixel near its edge, without halo and with one."""
    parts = []
    for left, title, halo, fine in (
        (20, "no halo: part of the field is not seen", 0, False),
        (400, "halo as wide as the field", 50, True),
    ):
        x, y, side = left + 70, 90, 130
        parts.append(text(left, 30, title, fill=_TEAL if fine else _RED, font_weight=600))
        parts.append(rect(x - halo, y - halo, side + 2 * halo, side + 2 * halo, fill="#eef3f2", stroke=_TEAL, stroke_dasharray="5 3"))
        parts.append(rect(x, y, side, side, fill=_TEAL, fill_opacity=0.35, stroke=_TEAL))
        px, py, reach = x + 8, y + 50, 48
        parts.append(rect(px - reach, py - reach, 2 * reach, 2 * reach, fill=_YELLOW, fill_opacity=0.25, stroke=_YELLOW, stroke_width=2))
        parts.append(f'<circle cx="{px}" cy="{py}" r="4" fill="{_RED}"/>')
    return [
        *parts,
        text(20, 285, "red: a pixel of the core; yellow: what decides its class (the receptive field); dashed: what the network is shown"),
    ]


def draw_stitch() -> list[str]:
    """Draw weights of two neighboring tiles: thrown away, and blended."""
    parts = []
    for left, title, blend in (
        (20, "crop: for networks that see a bounded field", False),
        (400, "blend: for those that see the whole tile", True),
    ):
        parts.append(text(left, 30, title, font_weight=600))
        for x, color in ((left, _TEAL), (left + 120, _BLUE)):
            parts.append(rect(x, 60, 160, 60, fill=color, fill_opacity=0.2, stroke=color))
        base = 240
        ramps = [(0, 20), (20, 90), (120, 90), (160, 20)] if blend else [(0, 0), (0, 90), (140, 90), (140, 0)]
        others = [(120, 20), (160, 90), (260, 90), (280, 20)] if blend else [(140, 0), (140, 90), (280, 90), (280, 0)]
        for points, color in ((ramps, _TEAL), (others, _BLUE)):
            parts.append(line([(left + x, base - h) for x, h in points], stroke=color, stroke_width=3))
        parts.append(line([(left, base), (left + 280, base)], stroke=_INK))
        parts.append(text(left, 262, "weight of each tile along the row", fill=_PALE))
    return parts


def draw_instances() -> list[str]:
    """Draw a building over a block's face: seeds in both blocks, joined, grown."""
    parts, shapes = [], ((20, "seeds, block by block", 0), (265, "joined over the face", 1), (510, "grown to the whole building", 2))
    for left, title, step in shapes:
        parts.append(text(left + 10, 30, title, font_weight=600))
        parts.append(rect(left + 10, 50, 190, 200, fill="#f5f7f8", stroke=_PALE))
        parts.append(line([(left + 105, 50), (left + 105, 250)], stroke=_INK, stroke_dasharray="4 4"))
        parts.append(rect(left + 40, 90, 130, 80, fill=_YELLOW, fill_opacity=0.3))
        parts.append(rect(left + 40, 178, 60, 50, fill=_YELLOW, fill_opacity=0.3))
        one, other = (_RED, _BLUE) if step == 0 else (_RED, _RED)
        grow = 12 if step == 2 else 0
        parts.append(rect(left + 52 - grow, 102 - grow, 53 + grow, 56 + 2 * grow, fill=one, fill_opacity=0.75))
        parts.append(rect(left + 105, 102 - grow, 53 + grow, 56 + 2 * grow, fill=other, fill_opacity=0.75))
        parts.append(rect(left + 50 - 10 * (step == 2), 188 - 10 * (step == 2), 40 + 20 * (step == 2), 30 + 20 * (step == 2), fill=_GREEN))
    return [
        *parts,
        text(
            10, 285, "yellow: building probability; dashed: face of two blocks. An id is the rank of the first pixel, whatever the blocks"
        ),
    ]


def draw_coverage() -> list[str]:
    """Draw two neighbors whose border is simplified twice, and once."""
    parts = []
    for left, title, shared in ((20, "each polygon simplified alone", False), (400, "the shared border simplified once", True)):
        parts.append(text(left, 30, title, fill=_TEAL if shared else _RED, font_weight=600))
        x = left + 140
        stairs = [(x, 60), (x, 100), (x + 20, 100), (x + 20, 140), (x - 10, 140), (x - 10, 190), (x + 15, 190), (x + 15, 240)]
        one = [(x, 60), (x + 20, 120), (x - 10, 165), (x + 15, 240)]
        other = one if shared else [(x, 60), (x + 36, 110), (x - 24, 175), (x + 15, 240)]
        for points, edge, color in ((one, left, _GREEN), (other, left + 280, _YELLOW)):
            outline = [*points, (edge, 240), (edge, 60), points[0]]
            parts.append(line(outline, fill=color, fill_opacity=0.45, stroke=color, stroke_width=2))
        parts.append(line(stairs, stroke=_INK, stroke_dasharray="3 3"))
        parts.append(text(left, 270, "no gap, no overlap" if shared else "a gap here, an overlap there", fill=_PALE))
    return parts


DRAWINGS: dict[str, Callable[[], list[str]]] = {
    "tiles": draw_tiles,
    "halo": draw_halo,
    "stitch": draw_stitch,
    "instances": draw_instances,
    "coverage": draw_coverage,
}
"""What draws each file, by its name."""


def render(name: str) -> str:
    """Return a drawing as an SVG file."""
    paper = rect(0, 0, _WIDTH, _HEIGHT, fill="#ffffff")
    return "\n".join([_FRAME.format(width=_WIDTH, height=_HEIGHT), paper, *DRAWINGS[name](), "</svg>", ""])


if __name__ == "__main__":
    for drawn in DRAWINGS:
        Path(sys.argv[1], f"{drawn}.svg").write_text(render(drawn), encoding="utf-8")
