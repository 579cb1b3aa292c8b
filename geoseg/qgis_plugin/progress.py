"""Events of geoseg as Processing shows them."""

from __future__ import annotations

from typing import Any

from .text import tr

_CHUNKS_SHARE = 80.0
"""Percent of the bar for chunks; the rest is for the stages after them."""
_STAGES = 6


class FeedbackListener:
    """Passes on events to a ``QgsProcessingFeedback``.

    Args:
        feedback: Takes progress, log and warnings.
    """

    def __init__(self, feedback: Any) -> None:
        self._feedback = feedback
        self._stages = 0

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event; unknown ones of newer versions are left out."""
        handle = getattr(self, f"_on_{event['event'].lower()}", None)
        if handle is not None:
            handle(event)

    def _on_line(self, event: dict[str, Any]) -> None:
        # an error comes again, as that of the algorithm
        if event["stream"] == "stdout":
            self._feedback.pushInfo(event["text"])
        elif not event["text"].startswith("Error: "):
            self._feedback.pushConsoleInfo(event["text"])

    def _on_runplanned(self, event: dict[str, Any]) -> None:
        text = tr("{width_px} x {height_px} pixels in {chunks} chunks, {chunks_done} of them done before. Model {model}; {execution}.")
        self._feedback.pushInfo(text.format(**event))

    def _on_tuned(self, event: dict[str, Any]) -> None:
        self._feedback.pushInfo(tr("Measured how the network runs best here: {chosen}.").format(**event))

    def _on_clusterready(self, event: dict[str, Any]) -> None:
        self._feedback.pushInfo(tr("{workers} workers with {threads} threads are ready.").format(**event))

    def _on_chunkdone(self, event: dict[str, Any]) -> None:
        self._feedback.setProgress(_CHUNKS_SHARE * event["done"] / max(event["chunks"], 1))
        self._feedback.setProgressText(tr("Chunk {done} of {chunks}").format(**event))

    def _on_chunkfailed(self, event: dict[str, Any]) -> None:
        self._feedback.reportError(tr("Chunk {chunk} could not be made: {error}").format(**event))

    def _on_stagedone(self, event: dict[str, Any]) -> None:
        self._stages += 1
        self._feedback.setProgress(_CHUNKS_SHARE + (100 - _CHUNKS_SHARE) * min(self._stages / _STAGES, 1.0))
        self._feedback.pushInfo(tr("{stage}: {elapsed_s:.1f} s").format(**event))

    def _on_epochdone(self, event: dict[str, Any]) -> None:
        self._feedback.setProgress(100.0 * event["epoch"] / max(event["epochs"], 1))
        losses = "  ".join(f"{name} {value:.3f}" for name, value in event.get("losses", {}).items())
        self._feedback.pushInfo(tr("Epoch {epoch} of {epochs}: {losses}").format(**{**event, "losses": losses}))

    def _on_warned(self, event: dict[str, Any]) -> None:
        self._feedback.pushWarning(event["message"])

    def _on_finished(self, event: dict[str, Any]) -> None:
        self._feedback.setProgress(100.0)
        missing = event.get("missing", 0)
        if missing:
            self._feedback.pushWarning(tr("{missing} chunks could not be made; nothing is known of their pixels.").format(missing=missing))
