"""Every numeric tolerance of the tests, each with its reason. atol is 0 throughout.

Bounds are in ulp of the dtype that computes (float32 for float16 and bfloat16), relative to the
value named in the reason. u is half an ulp at the lower end of a binade, so that a relative
error of n·u is at most n ulp. They are worst cases; what was measured stands beside them where
it says more.
"""

from __future__ import annotations

import math
from typing import Any

# Digits of the mpmath oracles: 34 more than float64 has.
ORACLE_DIGITS = 50

# --- groups: one value from 0/1 rewards --------------------------------------------------------
# All sums are exact integers over a power of two. √: ½ and half of the division before it;
# XLA divides by a constant through its reciprocal, 1½ for each of two divisions.
# Measured over all k at G ≤ 256, NumPy, torch and XLA: 1.4 (std), 1.2 (GRPO), 2.6 (eps),
# 1.2 (Dr. GRPO and RLOO).
BINARY_STD_ULP = 3.0
BINARY_GRPO_ULP = 3.0
# 1 + eps/std adds two divisions, a product, a sum and a division.
BINARY_GRPO_EPS_ULP = 7.0
# One exact numerator and one division whose divisor is (G − ddof)/P, exact.
BINARY_CENTRED_ULP = 2.0
# Largest group whose Σ(G d − Σd)² < G³/4 is an exact integer in the dtype.
BINARY_EXACT_GROUP = {"float16": 256, "bfloat16": 256, "float32": 256, "float64": 2**17}


# Real rewards: the bounds grow with G because they allow any order of summation. Measured at
# G ≤ 256 (normal, uniform, a few ulp apart, log-normal over 50 decades): 5.7 (std), 4.2 (GRPO),
# 3.3 (Dr. GRPO).


def std_ulp(group_size: int) -> float:
    """Real rewards. The error of the mean is a common shift, orthogonal to the deviations; what
    is left is √G·u from the rounded offsets, (G+1)/2·u from the sum of squares, 3 for √ and /."""
    return group_size + 4.0


def grpo_ulp(group_size: int) -> float:
    """Real rewards, relative to the largest |A| of the group: (2G+5)u from the deviation (the sum
    of G offsets of at most twice the largest deviation), G+4 from the standard deviation."""
    return 3.0 * group_size + 12.0


def centred_ulp(group_size: int) -> float:
    """Real rewards, relative to the largest |A| of the group: the deviation's part of `grpo_ulp`
    and one division."""
    return 2.0 * group_size + 6.0


def mean_product_ulp(group_size: int) -> float:
    """Relative to (1/G)Σ|w_i s_i|: each product 1, the sum G − 1, weight and divisions 3."""
    return group_size + 3.0


def slope_ulp(group_size: int) -> float:
    """Relative to max|R_i − μ| Σ|s_i| / Σ(R_i − μ)²: deviations as in `centred_ulp`, their
    squares (twice the relative error of the standard deviation), the sum of products."""
    return 4.0 * group_size + 14.0


# Rounding a float32 result to float16 or bfloat16.
HALF_ROUNDING_ULP = 0.5

# --- expectation: relative errors, in eps of the computing dtype ------------------------------
# Precision of the Arb oracle: p = 1e-300 cancels 1000 bits, power series in pq more.
ORACLE_BITS = 2400
# W from its table: ½ for the value in the middle of a piece, 1 for the node sums, the rest for the
# position in the piece and x = p(1−p). Measured: 4 in float64.
WEIGHT_EPS = 8.0
# What the degree of a table's pieces may leave out, of which 8 allows for twice as much.
INTERPOLATION_EPS = 1.0
# W times x or √x, or over 1 − p^G − q^G, which is worth 4 by itself.
MASS_EPS = 12.0
# Surrogate: running sums of the coefficients add 2√G u at worst. Measured 5 at G = 4096.
SURROGATE_EPS = 16.0
SURROGATE_LARGE_EPS = 64.0
# p^G + q^G: two powers, an exponential, a product, a sum.
SILENT_EPS = 6.0
# 1 − p^G − q^G cancels by at most 3/2: log1p, product, expm1, power, difference; its reciprocal.
KEPT_EPS = 8.0
CONDITIONAL_EPS = 12.0
TAIL_MISS_EPS = 16.0
# t·p + f·q and (1−t)p + (1−f)q, each three roundings more.
NOISE_EPS = 16.0
# A handful of elementary operations.
LAW_EPS = 8.0
# The promise, which the bounds in eps above beat.
PROMISED_RELATIVE = 1e-12
# Derivatives of the piecewise polynomial: the rounding of its node values times 2d²/h = 2048,
# relative to W on the scale x + 1/G of its changes. Measured: 4e-13.
DERIVATIVE_RELATIVE = 1e-12


def unbiased_eps(group_size: int) -> float:
    """A product of G factors, each a division and a multiplication (u = eps/2 each), twice."""
    return 2.0 * group_size


def beta_eps(log_rate: float) -> float:
    """The exponential of a sum of logarithms: each to 2u, the sum in blocks."""
    return 16.0 + 8.0 * abs(log_rate)


# Published figures carry this many digits: half a unit of the last one.
PER_CENT_HUNDREDTHS = 0.005 / 100
FOUR_DECIMALS = 0.5e-4
ONE_DECIMAL = 0.05
THREE_DECIMALS = 0.5e-3

# A result this close to the largest float, relative, may round to infinity or not: 2 ulp of
# bfloat16, and more than any bound above at the group sizes tested.
NEAR_OVERFLOW = 2.0**-7


def derivative_ulp(group_size: int) -> float:
    """Reverse mode, relative to the largest entry of the Jacobian: each adjoint sum is another sum
    over the group beside the forward ones, and the centring is applied twice."""
    return 8.0 * group_size + 24.0


def autograd_ulp(group_size: int) -> float:
    """Gradient of the sampled surrogate of a softmax policy over 4 actions, relative to
    (1/G)Σ|A_i|: advantages 7, a sum over G rollouts with division by G, then the adjoint of
    log-softmax: the sum of 4 coordinates times probabilities good to a few ulp."""
    return 2.0 * group_size + 24.0


# Derivatives by autodiff, in eps of |f'| + |f|/(pq + 1/G): of piecewise polynomials (the rounding
# of node values times 2d²/h = 2048, twice; measured 980, and 1811 for the surrogate of dapo,
# relative to |f'| alone) and of closed forms (measured 6.9).
DERIVATIVE_TABLE_EPS = 4096.0
DERIVATIVE_CLOSED_EPS = 16.0
# Of a value that the test writes with four digits.
FOUR_DIGITS = 1e-4

# Two computed sides of an identity, each within its own bound: their distance is at most twice
# the larger one.
IDENTITY_SPREAD = 2.0


def mean_relative(group_size: int, rows: int) -> float:
    """Relative, of a count-weighted mean in `identity.diagnostics`: p̂ = k/n is rounded once, which
    a G-th power multiplies by G; the elementwise forms promise at most 2 G eps (unbiased rate) or
    20 eps; weights, two sums of `rows` positive terms and a division add rows + 4. Nothing cancels.
    """
    return (3 * group_size + 2 * rows + 32) * 2.0**-52


# --- preference: in ulp or eps of the computing dtype -----------------------------------------
# DPO: Δ to u and the square of u in its terms; β and its product 2u of |βΔ|, which are 2 |βΔ| u of
# a fading loss and 2u of a growing one; exp and log1p of NumPy, torch and XLA 3 ulp together.
# Measured: 1.7 beside the part that grows with βΔ.
DPO_ULP = 8.0
# Log-ratios up to this multiple of |Δ| or of 1/β: the square of u in them is then a quarter ulp.
DPO_REACH = {"float16": 2**20, "bfloat16": 2**20, "float32": 2**20, "float64": 2**49}
# ½(s⁺ − s⁻): one difference; a product with the rounded root more.
PAIR_ULP = {0: 1.0, 1: 2.0}
# A difference; a quotient of it, a rounded complement and a root.
ADVANTAGE_ULP = {2: 1.0, None: 4.0}
# (p/q)V₊/V₋: q, two products and a quotient, half an eps each. Relative variance: a/(q + cp) to
# 2½, which enters as a square, two products and a sum. Measured: 1.7 and 3.0.
OPTIMAL_CONTRAST_EPS = 3.0
CONTRAST_EPS = 8.0
# Their derivatives, relative to |f'| + |f|/x: the same factors and their reciprocals once more.
CONTRAST_DERIVATIVE_EPS = 16.0


def weighted_rate_eps(prompts: int) -> float:
    """A weighted mean of rates within 6 eps: weights, products, two sums and a quotient."""
    return 2.0 * prompts + 12.0


def budget_ulp(prompts: int) -> float:
    """Offsets from the value of the largest weight, which is at least 1/N of all: an error of
    √(N+1)u in their spread, twice in its square; the sums N u each, weights and quotients 8."""
    return 2.0 * prompts + 16.0


def pairwise_ulp(group_size: int) -> float:
    """Relative to (1/G)Σ|A_i s_i|: `mean_product_ulp`, and a root of a quotient for the weight."""
    return group_size + 8.0


def equivalence_ulp(beta: float) -> float:
    """Gradients on a pair of two tokens, relative to the weight of s⁺ − s⁻: `autograd_ulp` of two
    rollouts, and β times the error of Δ, four log-probabilities of magnitude below 8, each to a
    few ulp."""
    return autograd_ulp(2) + 128.0 * beta


# Two libraries at the same floats, relative to the largest entry: each is within 16 + 2·3 ulp or
# eps of the value for the inputs of the test, where βΔ is below 3.
BACKENDS_EPS = 48.0

# Methods whose factors differ by less than this, relative, need not be told apart in float32:
# Bessel's with eps = 1e-6 and RLOO's at G = 2 are of this kind.
TELLS_APART = 1e-4

# --- surrogates -----------------------------------------------------------------------------------
# Relative to the estimate at the rounded difference of log-probabilities. k1 is that difference.
# k2: one product more. k3: a series whose terms fall by a factor 6 or more, or expm1 less its
# argument, of which at 1/2 a quarter is left; XLA's expm1 is good to 3 ulp.
KL_ULP = {"k1": 1.0, "k2": 3.0, "k3": 16.0}
KL_DERIVATIVE_ULP = 16.0


def loss_ulp(rows: int, tokens: int) -> float:
    """Of an aggregated loss beside the largest bound of its terms, relative to Σ w|ℓ|: two sums by
    halving, whose error is their depth, a weight of a few divisions and powers, a product. Also of
    its gradient, where a weight meets the derivative of its token."""
    depth = max(rows - 1, 1).bit_length() + max(tokens - 1, 1).bit_length()
    return depth + 10.0


def split_ulp(rows: int) -> float:
    """Of a combined loss, relative to Σ w|ℓ|: rows are the same in any part, and two orders of
    adding their numerators and denominators each have an error of at most their depth."""
    return 2.0 * max(rows - 1, 1).bit_length() + 4.0


# A transformer block in float64, between the gradient of a loss and a sum of gradients of
# log-probabilities: some 1e4 operations each way, errors that add like a random walk, relative to
# the largest entry. Measured: 9e-16.
BLOCK_RELATIVE = 1e-13

# Compiled code against eager, in eps of the dtype, for 84 tokens: sums in another order, fused
# products, another exp. Traced without a compiler the operations are the same ones.
COMPILED_EPS = 100.0
TRACED_RELATIVE = 1e-13
# One rounding to float16, which is 5e-4.
FLOAT16_RELATIVE = 1e-3
# β²S(βΔ)S(−βΔ) in float64, by differentiating twice what is good to a few eps.
SECOND_DERIVATIVE_RELATIVE = 1e-12
# A dozen operations in float32 (6e-8 each), where only the size of the result is in doubt.
FLOAT32_RELATIVE = 1e-5
# A weight times an exponential in float64: four eps. The same of a slope that is a ratio.
PRODUCT_RELATIVE = 1e-15
# A variance over a count, from sums of five: 45 eps.
SHARE_RELATIVE = 1e-14
# Two predicted gradients this close are the same prediction; those of other methods differ by more
# than this of the largest entry.
SAME_PREDICTION = 1e-9
OTHER_PREDICTION = 1e-3


# --- aggregation: in ulp of the computing dtype ------------------------------------------------


def token_weight_ulp(rows: int, *, by_length: bool) -> float:
    """Relative to the weight: a count and a constant converted, their product, three divisions. ΔL:
    n^alpha to 2 ulp (measured 0.9 in float32), its inverse, their sum in a tree of ⌈log₂ B⌉ levels,
    and n^alpha again as divisor."""
    return math.ceil(math.log2(max(rows, 1))) + 16.0 if by_length else 6.0


def row_sum_ulp(tokens: int) -> float:
    """Relative to Σ|ℓ|/d of one row: a tree of ⌈log₂ T⌉ levels, each worth ½ ulp, and the division
    by d = n^alpha."""
    return math.ceil(math.log2(max(tokens, 1))) + 8.0


def aggregate_ulp(tokens: int, rows: int) -> float:
    """Relative to Σ w|ℓ|: the row sums, the tree over rows, and the weights' own error, whose tree
    has one more level for each doubling of the rows."""
    levels = math.ceil(math.log2(max(tokens, 1))) + 2 * math.ceil(math.log2(max(rows, 1)))
    return levels + 24.0


def mean_weight_ulp(group_size: int) -> float:
    """Relative to Σ x_i: G inverses, a sum in any order, two divisions."""
    return group_size + 8.0


def length_variance_ulp(group_size: int, alpha: float) -> float:
    """Relative to the variance: the ratio of lengths, half an ulp, is raised to alpha, twice; the
    two sums in any order, shares twice; the mean twice."""
    return 4.0 * group_size + 16.0 * (1 + abs(alpha)) + 32.0


def length_bias_ulp(outcomes: int, group_size: int, alpha: float) -> float:
    """Relative to E[Σ (x_i/E[Σ x] + 1/G)|g_i|]: shares as above, two sums over outcomes (the mean
    of Σ x and the result), one over the group."""
    return 2.0 * outcomes + 4.0 * group_size + 16.0 * (1 + abs(alpha)) + 64.0


# Published figures with six digits.
SIX_DECIMALS = 0.5e-6
# Another library's loss and gradient in float64, relative to the largest entry; the value may
# cancel to a hundredth of its terms, and k3 written as exp(y) − 1 − y to less.
LIBRARY_RELATIVE = 1e-12

# --- difficulty: in eps of the computing dtype --------------------------------------------------
# A power to 1 ulp, a rounded complement, a root, a quotient. Measured: 2.2 over the whole atlas.
ATLAS_EPS = 12.0
# One power; measured 0.9. Two of them, a complement and the exponential that makes up for its
# rounding; measured 1.5.
TSALLIS_EPS = 2.0
KERNEL_EPS = 6.0
# 1 − δ²: a square or a product of a sum and a difference. sech²: expm1 (3 ulp in XLA), once
# squared in the sinh and once in the result. Measured: 0.7 and 4.1; derivatives 1.0 and 4.5.
MINIMAX_EPS = {"relative": 2.0, "log": 8.0}
MINIMAX_DERIVATIVE_EPS = {"relative": 4.0, "log": 16.0}
# A complement or a difference of counts, quotients, a root.
SNR_EPS = 3.0
SUCCESS_EPS = 2.0
# Derivatives, relative to |w'| + |w|/(p(1 − p)). Measured: 2.4.
ATLAS_DERIVATIVE_EPS = 16.0


def exponent_eps(exponent: float, log_p: float) -> float:
    """Autodiff lowers an exponent by 1 in floats: half an ulp of it, times |log p|."""
    return (1.0 + abs(exponent)) * abs(log_p)


def escort_eps(labels: int, q: float, log_ratio: float) -> float:
    """Ratios to 1 ulp (from fourth roots: 5) and the rounding of 1/q, both raised to 1/q; a sum in
    any order."""
    return labels + 8.0 + (4.0 + abs(log_ratio)) / q


def efficiency_eps(prompts: int) -> float:
    """Three sums of positive terms, one of them squared; ratios to the largest, products."""
    return 2.0 * prompts + 16.0


def pool_ulp(draws: int, power: float, log_factor: float) -> float:
    """Relative to the terms: a sum in any order, another raised to a power, and the logarithm of
    w̄^(1 − q), by which the rounding of that exponent counts."""
    return (1.0 + abs(power)) * (draws + 2.0) + 8.0 + abs(log_factor)


# --- distillation: absolute, from the eps of the computing dtype ---------------------------------
# What the functions promise. D is the largest distance of two logits that matter. Measured on laws
# of 2 to 60 tokens, scales 0.1 to 300: a tenth of each (divergences 0.10, covariances 0.04, tilts
# 0.12).


def divergence_bound(value: Any, tokens: int, reach: float, eps: float) -> Any:
    """D/2 for a probability, V/2 for the sum of V terms, relative to KL; and 5D/2 for a log-ratio,
    whose effect is Σ |π − π_T| ≤ √(2 KL). What shifts all log-ratios alike counts by its square."""
    return (tokens + 4 * reach) * eps * (value + abs(value) ** 0.5) + (4 * reach * eps) ** 2


def covariance_bound(spread: Any, width: Any, tokens: int, reach: float, eps: float) -> Any:
    """Two sums of V terms and probabilities, relative to the mean distance of the log-ratio from
    its mean times the range of rewards; and the log-ratio's own 5D/2."""
    return eps * ((2 * tokens + 4 * reach) * spread + 4 * reach) * width


def tilt_bound(tokens: int, reach: float, beta: float, eps: float) -> float:
    """Shifted logits, their difference over β, and the logarithm of a sum of V terms."""
    return eps * (8 * (1 + (1 + 1 / beta) * reach + math.log(tokens)) + tokens)


# Derivatives of a divergence in float64, relative to D (1 + the largest entry): 5D/2 for a
# log-ratio and as much for what reverse mode adds.
DISTILLATION_SLOPE_EPS = 8.0
# Sums over all responses of a small tree, each a product of a few numbers, in float64.
TREE_RELATIVE = 1e-12


# --- dynamics: in eps of the computing dtype -----------------------------------------------------
# Delay: φ by bisection to 2 eps of its slope, a sine, a root of a sum. Measured: 1.3. Block: 80
# digits, rounded once. Onset: five factors and an exponential.
THRESHOLD_EPS = {"delay": 8.0, "block": 1.0, "one_step": 2.0}
ONSET_EPS = 16.0
# m, γ (relative to its two terms) and roots of quotients.
OSCILLATOR_EPS = 8.0
# p_ref/(p_ref + failing): a product, a sum, a quotient, an exponential to 3 ulp.
SUCCESS_STEP_EPS = 8.0
# Closed forms of a cold start; quadrature of factors of a few eps each.
COLD_START_EPS = 16.0
COLD_START_QUADRATURE_EPS = 64.0


def trajectory_eps(zeta: float, s: float) -> float:
    """Exponents are rounded a few times; measured 0.4 of this."""
    return 24.0 + 2.0 * max(1.0, zeta) * s


def stationary_eps(kappa: float, margin: float) -> float:
    """A dozen roundings, and that of κ in 2(1 + μ) − κ."""
    return 8.0 + 2.0 * kappa / margin


# Derivatives of the two shares: the same few exponentials.
VELOCITY_RELATIVE = 1e-13
# The endpoint of a profile interval is good to 0.2 % of its half-width; the grid that checks it
# has steps of 1/100 to 1/30 of one.
INTERVAL_SHARE = 0.06
