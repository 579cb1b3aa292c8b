"""A page is one file that needs nothing else and trusts nothing that it shows."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from geoseg.runfolder.page import Page


def test_a_page_holds_its_parts_and_asks_for_nothing_outside(tmp_path: Path) -> None:
    figure = Figure()
    figure.add_subplot().plot([0, 1], [1, 0])
    page = Page("Report <of> a run")
    page.heading("Classes").table(("class", "IoU", "pixels"), [("a & b", 0.123456, 12345), ("c", float("nan"), 0)])
    page.chart(figure).gallery([("worst place", np.zeros((4, 5, 3), np.uint8))]).write(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "Report &lt;of&gt; a run" in html
    assert "a &amp; b" in html
    assert '<td class="number">0.1235</td>' in html
    assert '<td class="number">12,345</td>' in html
    assert 'src="data:image/png;base64,' in html
    assert "<svg" in html
    assert not [word for word in ("<script", 'src="http', 'href="http', "<?xml", "@import") if word in html]
