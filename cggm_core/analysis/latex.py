"""Text of users as LaTeX prints it: no character breaks the compiler, none begins a command, none is lost silently."""

from __future__ import annotations

MOST_LETTERS = 80
_FOREIGN = 4  # characters shown by their code points in one place before the rest is counted
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "−": "$-$", "±": r"$\pm$",
    "→": r"$\rightarrow$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "Δ": r"$\Delta$",
    "–": "--", "—": "---", "’": "'", "‘": "`", "“": "``", "”": "''", "…": r"\ldots{}",
    **{letter: rf"$\{word}$" for letter, word in {
        "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
        "λ": "lambda", "μ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "varphi", "χ": "chi",
        "ψ": "psi", "ω": "omega"}.items()},
}  # fmt: skip
_LATIN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝ")


def latex_escaped(text: str, limit: int = MOST_LETTERS) -> str:
    """Text that LaTeX prints as it is; control and direction characters are dropped.

    pdfLaTeX stops at characters it has no glyph for, so those (emoji, most scripts) stand as their code points, the
    first few of a place; what is longer than the limit ends in an ellipsis.

    Args:
        text: anything.
        limit: most characters printed, counted before escaping.
    """
    kept = [c for c in text if c.isprintable()]
    made, foreign = [], 0
    for c in kept[:limit]:
        if c in _SPECIAL:
            made.append(_SPECIAL[c])
        elif c.isascii() or c in _LATIN:
            made.append(c)
        else:
            foreign += 1
            if foreign <= _FOREIGN:
                made.append(rf"\texttt{{U+{ord(c):04X}}}")
    if foreign > _FOREIGN or len(kept) > limit:
        made.append(r"\ldots{}")
    return "".join(made)


def tabular(
    heads: list[str], rows: list[list[str]], form: str, *, caption: str = "", wide: bool = False
) -> str:  # fmt: skip
    """A booktabs table of cells that are LaTeX already.

    Args:
        heads: of the columns.
        rows: of cells.
        form: column types as `tabular` takes them.
        caption: LaTeX already; "" for none.
        wide: whether it has many columns: then it is set small and close.
    """
    lines = [r"% needs \usepackage{booktabs}", r"\begin{table}[t]", r"\centering"]
    lines += [rf"\caption{{{caption}}}"] if caption else []
    lines += [r"\scriptsize\setlength{\tabcolsep}{3pt}"] if wide else []
    # An empty group: a cell that begins with [ or * would be an argument of the \\ before it.
    body = [rf"{{}}{' & '.join(row)} \\" for row in rows]
    lines += [rf"\begin{{tabular}}{{{form}}}", r"\toprule", rf"{' & '.join(heads)} \\", r"\midrule", *body,
              r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]  # fmt: skip
    return "\n".join(lines)
