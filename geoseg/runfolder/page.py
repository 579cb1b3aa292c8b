"""Reports as one HTML file that needs nothing else: text, tables, charts and pictures."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.io.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d5dae1 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #e7eaef } td.number { text-align: right }
th { color: #56616f; font-weight: 600 } figure { margin: 0; break-inside: avoid } figcaption { color: #56616f; font-size: .85rem }
.chart svg { width: 100%; height: auto }
.bars text { font-size: 11px; text-anchor: middle }
.bars { display: inline-block; width: 49% } .gallery { display: flex; flex-wrap: wrap; gap: 1rem }
.gallery img { display: block; max-width: 100% } .gallery.maps figure { flex: 1 1 24rem; max-width: 100% } .gallery.maps img { width: 100% }
p.alert { background: #fff3e0; border-left: 4px solid #e08a00; padding: .4rem .8rem }
.bar { display: inline-block; height: .8rem; min-width: 1px; vertical-align: middle; box-shadow: inset 0 0 0 1px #0003 }
.track { display: inline-block; width: 14rem; print-color-adjust: exact; -webkit-print-color-adjust: exact }
@media print { body { max-width: none; margin: 0; font-size: 12px } h2, tr { break-inside: avoid; break-after: avoid }
.gallery.maps figure { flex: 0 1 48% } .track { width: 9rem } }
</style></head><body>
<h1>{{ title }}</h1>
{% for part in parts %}
{% if part.kind == "heading" %}<h2>{{ part.text }}</h2>
{% elif part.kind == "text" %}<p>{{ part.text }}</p>
{% elif part.kind == "alert" %}<p class="alert">{{ part.text }}</p>
{% elif part.kind == "table" %}<table>{% if part.columns | join %}<thead><tr>
{% for name in part.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>{% endif %}
<tbody>{% for row in part.rows %}<tr>{% for cell in row %}
{% if cell.share is defined %}
<td><span class="track"><span class="bar" style="width: {{ cell.percent }}%; background: {{ cell.color }}"></span></span></td>
{% else %}
<td{% if cell is number %} class="number"{% endif %}>{{ cell | shown }}</td>
{% endif %}
{% endfor %}</tr>
{% endfor %}</tbody></table>
{% elif part.kind == "chart" %}<figure class="chart">{{ part.svg | safe }}</figure>
{% elif part.kind == "histogram" %}<figure class="chart bars"><svg viewBox="0 0 640 190" role="img" aria-label="{{ part.caption }}">
{% for bar in part.bars %}<rect x="{{ bar.x }}" y="{{ bar.y }}" width="{{ bar.width }}" height="{{ bar.height }}" fill="#4477aa"/>
{% if bar.count %}<text x="{{ bar.middle }}" y="{{ bar.y - 3 }}">{{ bar.count | shown }}</text>{% endif %}
<text x="{{ bar.middle }}" y="178">{{ bar.label }}</text>{% endfor %}
<path d="M0 162H640" stroke="#1c2430"/></svg><figcaption>{{ part.caption }}</figcaption></figure>
{% elif part.kind == "gallery" %}<div class="gallery{% if part.wide %} maps{% endif %}">{% for caption, source in part.pictures %}
<figure><img src="{{ source }}" alt="{{ caption }}"><figcaption>{{ caption }}</figcaption></figure>{% endfor %}</div>
{% endif %}{% endfor %}
</body></html>
"""
_HISTOGRAM_PX = (640, 162, 142)
"""Width of a histogram, where its bars stand, and how high the highest of them is."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A cell of a table that is drawn as a bar."""

    share: float
    """Length, from 0 to 1."""
    color: str = "#4477aa"
    """``#rrggbb``."""

    @property
    def percent(self) -> float:
        """Length in percent."""
        return round(100 * min(max(self.share, 0.0), 1.0), 2)


@dataclass(slots=True)
class Page:
    """A report in the order in which its parts were added."""

    title: str
    """Heading of the page."""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """What was added so far."""

    def heading(self, text: str) -> Self:
        """Begin a section."""
        self.parts.append({"kind": "heading", "text": text})
        return self

    def text(self, text: str) -> Self:
        """Add a paragraph."""
        self.parts.append({"kind": "text", "text": text})
        return self

    def alert(self, text: str) -> Self:
        """Add a paragraph that nobody should overlook."""
        self.parts.append({"kind": "alert", "text": text})
        return self

    def table(self, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Self:
        """Add a table; numbers stand right, floats have four significant digits, and a :class:`Bar` is drawn. Empty names make no head."""
        self.parts.append({"kind": "table", "columns": columns, "rows": rows})
        return self

    def chart(self, figure: "Figure") -> Self:
        """Add a figure of matplotlib as SVG."""
        import matplotlib

        buffer = io.StringIO()
        # text stays text and ids do not change from run to run
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "geoseg"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        markup = buffer.getvalue()
        # an XML prologue has no place inside HTML
        self.parts.append({"kind": "chart", "svg": markup[markup.index("<svg") :]})
        return self

    def histogram(self, caption: str, labels: list[str], counts: list[int]) -> Self:
        """Add bars side by side, without matplotlib, which takes longer to load than a report to write.

        Args:
            caption: What is counted, with the unit of the labels.
            labels: Below each bar.
            counts: Height of each bar, one for each label.
        """
        width, foot, height = _HISTOGRAM_PX
        step, most = width / max(len(counts), 1), max([*counts, 1])
        tall = [round(height * count / most, 1) for count in counts]
        bars = [
            {
                "x": round(i * step + 1, 1),
                "y": round(foot - tall[i], 1),
                "width": round(step - 2, 1),
                "height": tall[i],
                "middle": round((i + 0.5) * step, 1),
                "count": count,
                "label": label,
            }
            for i, (label, count) in enumerate(zip(labels, counts, strict=True))
        ]
        self.parts.append({"kind": "histogram", "caption": caption, "bars": bars})
        return self

    def gallery(self, pictures: list[tuple[str, NDArray[np.uint8]]], *, wide: bool = False, lossy: bool = False) -> Self:
        """Add pictures side by side.

        Args:
            pictures: Caption and (H, W, 3) RGB of each.
            wide: Two maps in a row, as wide as the page lets them be; else each in its own size.
            lossy: Photographs may lose what nobody sees, for a file a fifth as large.
        """
        drawn = [(caption, _data_uri(picture, lossy=lossy)) for caption, picture in pictures]
        self.parts.append({"kind": "gallery", "pictures": drawn, "wide": wide})
        return self

    def write(self, path: Path) -> None:
        """Write the page; under ``path`` there is only ever a whole one (law 9)."""
        environment = jinja2.Environment(autoescape=True, trim_blocks=True)
        environment.filters["shown"] = _shown
        html = environment.from_string(_TEMPLATE).render(title=self.title, parts=self.parts)
        write_whole(path, html.encode("utf-8"))


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return "-" if np.isnan(cell) else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def _data_uri(picture: NDArray[np.uint8], *, lossy: bool) -> str:
    buffer, image = io.BytesIO(), Image.fromarray(picture)
    kind = "jpeg" if lossy and image.getcolors(64) is None else "png"
    image.save(buffer, format=kind, **({"quality": 85} if kind == "jpeg" else {"optimize": not lossy}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
