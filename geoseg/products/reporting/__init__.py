"""``report.html``: what a run found, where it is unsure, and where it comes from, in one file to print or pass on."""
