"""What pages share: session, pickers, forms, tables, panels; only `ui` and the pages import Streamlit."""
