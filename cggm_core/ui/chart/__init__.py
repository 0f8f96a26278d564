"""The live chart: Plotly that keeps zoom, hidden lines and scroll place while its data grows."""

from cggm_core.ui.chart.component import live_chart
from cggm_core.ui.chart.delta import Picture

__all__ = ["Picture", "live_chart"]
