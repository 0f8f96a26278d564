"""Laying one map onto another, so that what moves is what changed."""

from __future__ import annotations

import numpy as np

from cggm_core.embedding.gradients import FloatArray, Gradients


def aligned(points: FloatArray, onto: FloatArray) -> FloatArray:
    """Points turned, mirrored, moved and scaled so that they lie as near as they can to their namesakes.

    Minimises sum |s Q p + t - o|^2 over rotations and mirrors Q, scales s and moves t: with P and O the centred
    points and U S V' the decomposition of P'O, Q = V U' and s = trace(S) / |P|^2.

    Args:
        points: `[n, 2]`.
        onto: `[n, 2]`, row by row the same things; where either has no extent the points are only moved.

    Reference: Schoenemann, Psychometrika 1966 (orthogonal Procrustes).
    """
    middle, there = points.mean(0), onto.mean(0)
    centred = points - middle
    u, sizes, vt = np.linalg.svd(centred.T @ (onto - there))
    extent = float(np.square(centred).sum())
    if extent == 0 or sizes.sum() == 0:
        return np.asarray(centred + there)
    made: FloatArray = sizes.sum() / extent * centred @ u @ vt + there
    return made


def laid_onto(points: FloatArray, what: Gradients, before: FloatArray, what_before: Gradients) -> FloatArray:
    """A new map laid onto the one shown before it, by the gradients that both hold.

    Args:
        points: `[n, 2]`, the new map.
        what: its gradients.
        before: `[m, 2]`, the earlier map; with fewer than three gradients in common the new map stays
            as it is.
        what_before: the earlier map's gradients.
    """
    place = {key: row for row, key in enumerate(_names(what_before))}
    shared = [(row, place[key]) for row, key in enumerate(_names(what)) if key in place]
    if len(shared) < 3:
        return points
    rows, others = np.array(shared).T
    part, there = points[rows], before[others]
    moved = aligned(part, there)
    # The same turn, scale and move for all: read off three numbers of an affine fit that is exact on the shared.
    basis = np.concatenate([part, np.ones((len(part), 1))], axis=1)
    fit = np.linalg.lstsq(basis, moved, rcond=None)[0]
    made: FloatArray = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ fit
    return made


def _names(what: Gradients) -> list[tuple[int, str, str]]:
    return list(zip(what.step.tolist(), what.kind.tolist(), what.modality.tolist(), strict=True))
