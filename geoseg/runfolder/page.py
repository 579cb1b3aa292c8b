"""Reports as one HTML file that needs nothing else: text, tables, charts and pictures."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from geoseg.io.files import write_whole

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d5dae1 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #e7eaef } td.number { text-align: right }
th { color: #56616f; font-weight: 600 } figure { margin: 0; break-inside: avoid } figcaption { color: #56616f; font-size: .85rem }
.chart svg { width: 100%; height: auto } .gallery { display: flex; flex-wrap: wrap; gap: 1rem }
.gallery img { display: block; max-width: 100% }
@media print { body { max-width: none; margin: 0 } }
</style></head><body>
<h1>{{ title }}</h1>
{% for part in parts %}
{% if part.kind == "heading" %}<h2>{{ part.text }}</h2>
{% elif part.kind == "text" %}<p>{{ part.text }}</p>
{% elif part.kind == "table" %}<table><thead><tr>{% for name in part.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in part.rows %}<tr>{% for cell in row %}
<td{% if cell is number %} class="number"{% endif %}>{{ cell | shown }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% elif part.kind == "chart" %}<figure class="chart">{{ part.svg | safe }}</figure>
{% elif part.kind == "gallery" %}<div class="gallery">{% for caption, source in part.pictures %}
<figure><img src="{{ source }}" alt="{{ caption }}"><figcaption>{{ caption }}</figcaption></figure>{% endfor %}</div>
{% endif %}{% endfor %}
</body></html>
"""


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

    def table(self, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Self:
        """Add a table; numbers stand right, floats have four significant digits."""
        self.parts.append({"kind": "table", "columns": columns, "rows": rows})
        return self

    def chart(self, figure: Figure) -> Self:
        """Add a figure of matplotlib as SVG."""
        buffer = io.StringIO()
        # text stays text and ids do not change from run to run
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "geoseg"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        markup = buffer.getvalue()
        # an XML prologue has no place inside HTML
        self.parts.append({"kind": "chart", "svg": markup[markup.index("<svg") :]})
        return self

    def gallery(self, pictures: list[tuple[str, NDArray[np.uint8]]]) -> Self:
        """Add pictures side by side.

        Args:
            pictures: Caption and (H, W, 3) RGB of each.
        """
        self.parts.append({"kind": "gallery", "pictures": [(caption, _data_uri(picture)) for caption, picture in pictures]})
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


def _data_uri(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
