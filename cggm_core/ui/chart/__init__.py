"""The live chart: Plotly that keeps zoom, hidden lines and scroll place while its data grows."""

from cggm_core.ui.chart.component import live_chart

__all__ = ["live_chart"]
