"""Every threshold of the verdict, each with its reason. None knows a data set, a task or a model by name.

Values are shares of something that has a natural scale (the way from chance to perfect, the sum of contributions,
steps), so the same number means the same everywhere.
"""

from __future__ import annotations

LEARNT = 0.02  # v(all) - v(none) below that: nothing was learnt, so nobody can carry it
LEARNT_ERRORS = 2.0  # and it must be that many standard errors away from 0
LEAD = 2.0  # the first contributes at least twice as much as the second: less is no dominance but a ranking
LEAD_ERRORS = 2.0  # and their difference is that many standard errors (95 of 100 resampled probe sets agree)
ALONE = 2 / 3  # the second alone gets at most this share of the first alone; above it they are equals, one underused
LAG = 0.5  # a modality lags if it contributes less than half of the strongest, by two standard errors
IDLE = 0.05  # a share of the sum of contributions that is as good as nothing
KNOWS = 0.10  # of the way from chance to perfect: what a modality tells alone; below it, it tells next to nothing
LOSS = 0.01  # an absolute change of accuracy, skill or Dice nobody would notice
ERRORS = 2.0  # standard errors of the change that must be passed besides
GAP = 0.20  # of the way from chance to perfect, train less validation, of one classifier
GAP_SHARE = 0.33  # and that much of what it reached on train is gone
RECENT = 3  # epochs averaged at the end: one epoch's validation score is a noisy number
CONFLICT_SHARE = 0.6  # of steps with a cosine below 0; unrelated gradients give 0.5
CONFLICT_COSINE = -0.1  # and their mean: high-dimensional chance lies within a few hundredths of 0
EXPLODED = 5.0  # |B| above that: five times the gradient the optimiser was set up for
EXPLODED_SHARE = 0.05  # of steps; one in twenty is enough to rule Adam's second moment
NEGATIVE_SHARE = 0.01  # of steps: gradient ascent on an encoder is never intended
UNDEFINED_SHARE = 0.05  # of steps on which the coefficient's denominator was zero
CANCELLED = 0.3  # exponent of update against coefficient: below it less than a third of a change gets through
VARIES = 0.05  # spread of log |B| below that: there is no change that could get through
MEAN_SCALE = 0.2  # mean of B away from 1 by more: balancing also changed the learning rate
CLIPPED_SHARE = 0.2  # of steps whose gradient was cut; there clipping, not balancing, sets the scale
SURE_ERRORS = 4.0  # standard errors from which confidence is high
FEW_STEPS = 30  # fewer steps say nothing about shares of steps
