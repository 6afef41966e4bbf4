"""Topic ``groups``: one sampled group, exact (theory of 2607.00152, sections 2 and 3).

The left side of every statement is the algorithm's definition, written as sums over the
rollouts of one group; the right side is the closed form. Scores are vectors of any dimension:
statements hold for each coordinate d of D.
"""

from proofs.groups.identity import identity

THEOREMS = (identity(),)
