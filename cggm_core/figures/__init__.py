"""Figures: one specification, drawn on the screen by Plotly and on paper by matplotlib."""
