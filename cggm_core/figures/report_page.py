"""The pages of a report: one that shows everything without a script, and one a figure, to zoom and point at.

Both open from disk without a network. Names of users are text on them and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from cggm_core.figures import screen
from cggm_core.figures.report_parts import Drawn, Tabled, said
from cggm_core.figures.spec import FigureSpec

SCRIPT = "assets/plotly.min.js"
_TALL = {1: 460, 2: 640}
_STYLE = (
    ":root{--text:#1b1f24;--faint:#4b5563;--line:#d8dee4;--paper:#fff}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:var(--text);"
    "background:var(--paper)}.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(30rem,100%),1fr));"
    "gap:1rem}figure{margin:0;padding:1rem;border:1px solid var(--line);border-radius:8px;background:#fff;"
    "color:#1b1f24}figure svg{width:100%;height:auto}figcaption{color:#4b5563;font-size:.9rem;overflow-wrap:anywhere}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}caption{text-align:left;padding:.3rem 0}"
    "td,th{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}"
    "td{max-width:28rem;overflow-wrap:break-word}.files{font-size:.85rem}.missing{color:var(--faint)}a{color:#0b5cad}"
    "@media(prefers-color-scheme:dark){:root{--text:#e4e9ef;--faint:#9aa7b4;--line:#2c3641;--paper:#12171d}"
    "a{color:#7cb8ff}figure a{color:#0b5cad}}"
)
_ENDINGS = ("html", "pdf", "svg", "png", "csv", "parquet")


def index(
    drawn: Sequence[tuple[Drawn, bytes]], tables: Sequence[Tabled], sentences: Sequence[str],
    checklist: Sequence[tuple[str, str, Sequence[str]]],
) -> str:  # fmt: skip
    """The page that shows everything.

    Args:
        drawn: figures with their SVG.
        tables: in their order.
        sentences: about the whole; plain text.
        checklist: of the paper: which figure or table, what is said of it, and where in the archive it is.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>CGGM Lab report</title><style>{_STYLE}</style></head><body><main><h1>Report</h1>",
        *(f"<p>{said(sentence)}</p>" for sentence in sentences),
        "<h2>Figures and tables of the paper</h2>", _checklist(checklist), "<h2>Tables</h2>",
        *(_table(one) for one in tables), "<h2>Figures</h2><div class='figures'>",
    ]  # fmt: skip
    parts += [_figure(one, svg, number) for number, (one, svg) in enumerate(drawn, start=1)]
    return "".join([*parts, "</div></main></body></html>"])


def interactive(spec: FigureSpec, depth: int) -> str:
    """One figure that can be zoomed and pointed at; the script lies beside it in the archive.

    Args:
        spec: what to draw.
        depth: folders between the page and the top of the archive.
    """
    drawn = screen.to_json(screen.resolved(screen.figure(spec)))
    for letter in "<>&":  # a name may hold an end tag; inside a script such letters can be written otherwise
        drawn = drawn.replace(letter, f"\\u{ord(letter):04x}")
    height = _TALL.get(len(spec.panels), 240 * len(spec.panels))
    code = (
        f"Plotly.newPlot('plot',...(f=>[f.data,Object.assign(f.layout,{{height:{height}}}),"
        f"{{responsive:true,displaylogo:false}}])({drawn}))"
    )
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    allowed = (
        f"default-src 'none'; script-src 'self' file: 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:"
    )
    notes = " ".join((spec.how_to_read, *spec.notes()))
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
        f"<title>{said(spec.title)}</title><style>{_STYLE}</style></head><body><main><h1>{said(spec.title)}</h1>"
        f"<figure role='img' aria-label='{said(spec.alt)}'><div id='plot'></div>"
        f"<figcaption>{said(notes)}</figcaption></figure></main>"
        f"<script src='{'../' * depth}{SCRIPT}'></script><script>{code}</script></body></html>"
    )


def script() -> bytes:
    """plotly.js as the installed package ships it."""
    found = importlib.util.find_spec("plotly")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "package_data" / "plotly.min.js").read_bytes()


def _checklist(items: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    rows = []
    for paper, text, where in items:
        links = ", ".join(f"<a href='{place}.svg'>{said(place)}</a>" if place.startswith("figures/")
                          else f"<a href='{place}.csv'>{said(place)}</a>" for place in where)  # fmt: skip
        rows.append(f"<tr><th scope='row'>{said(paper)}</th><td>{said(text)}</td>"
                    f"<td>{links or '<span class=missing>not in this report</span>'}</td></tr>")  # fmt: skip
    return f"<div class='wide'><table>{''.join(rows)}</table></div>"


def _figure(drawn: Drawn, svg: bytes, number: int) -> str:
    spec = drawn.spec
    return (
        f"<figure id='figure-{number}'><div role='img' aria-label='{said(spec.alt)}'>{_inline(svg, number)}</div>"
        f"<figcaption><b>{said(drawn.caption)}.</b> {said(' '.join((spec.how_to_read, *spec.notes())))} "
        f"{_files(drawn.place, _ENDINGS)}</figcaption></figure>"
    )


def _table(table: Tabled) -> str:
    heads = "".join(f"<th scope='col'>{said(head)}</th>" for head in table.heads)
    rows = []
    for row, cells in enumerate(table.texts):
        texts = [said(cell).replace(" ± ", "&nbsp;±&nbsp;") for cell in cells]
        shown = "".join(f"<td><b>{text}</b></td>" if (row, column) in table.strong else f"<td>{text}</td>"
                        for column, text in enumerate(texts))  # fmt: skip
        rows.append(f"<tr>{shown}</tr>")
    return (
        f"<h3>{said(table.title)}</h3><p>{said(table.how_to_read)} {_files(table.place, ('tex', 'csv', 'parquet'))}</p>"
        f"<div class='wide'><table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _files(place: str, endings: Sequence[str]) -> str:
    """Links to the files of a figure or table; a place in the archive is letters, digits and dashes."""
    links = " ".join(f"<a href='{place}.{ending}'>{ending}</a>" for ending in endings)
    return f"<span class='files'>{links}</span>"


def _inline(svg: bytes, number: int) -> str:
    """An SVG inside a page: no XML head, and identifiers of its own, or figures would share clip paths."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    return re.sub(r'(id="|href="#|url\(#)', rf"\g<1>f{number}-", text)
