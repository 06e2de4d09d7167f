"""What control measures and tells of: metrics that gateways send, their page for Prometheus, traces for a collector."""

from collections.abc import Callable
from typing import Any

from modelyard.base.clock import Clock
from modelyard.base.ids import FastRandom
from modelyard.base.settings import Home, Settings
from modelyard.control.exposition import Exposition
from modelyard.control.measuring import Measuring
from modelyard.control.tracing import TraceExport
from modelyard.domain.tracing import Sampler
from modelyard.gateway.counters import decode_report
from modelyard.server.app import Exchange
from modelyard.server.stores import Stores
from modelyard.server.trace_headers import load_headers
from modelyard.server.traces import ApiSpans, Collector


class Telemetry:
    """Of one control process. ``heard`` is told what gateways report, too."""

    def __init__(
        self, settings: Settings, *, stores: Stores, clock: Clock, heard: Callable[[Any], None]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._heard = heard
        self._exposition = Exposition(stores.resources)
        self.measuring = Measuring(
            metrics=stores.metrics, clock=clock, decode=decode_report, heard=self._take
        )
        self.traces = self._build_traces()
        """None where nobody asked for them."""

    def observer(self, process: str) -> Callable[[Exchange, int, float], None] | None:
        """What makes spans of API calls; None without traces."""
        tracing, traces = self._settings.tracing, self.traces
        if tracing is None or traces is None:
            return None
        return ApiSpans(
            process=process,
            sampler=Sampler(tracing.sampler, tracing.ratio),
            random=FastRandom(),
            now=self._clock.now,
            keep=traces.add,
        ).observe

    def page(self) -> str:
        """For Prometheus."""
        traces = self.traces.families() if self.traces is not None else ()
        return self._exposition.text(dropped_reports=self.measuring.dropped, more=traces)

    def _build_traces(self) -> TraceExport | None:
        tracing = self._settings.tracing
        if tracing is None:
            return None
        headers = load_headers(Home(self._settings.home).trace_headers)
        return TraceExport(post=Collector(tracing, headers).post, clock=self._clock)

    def _take(self, cells: Any) -> None:
        self._exposition.add(cells)
        self._heard(cells)
