"""Numbers about runs, computed from plain arrays; no drawing, no Streamlit, no torch."""
