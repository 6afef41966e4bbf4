"""The weight of every token, and the loss that the weights make."""

from __future__ import annotations

from typing import Any

from identity._arrays import Array, quiet
from identity.aggregation._rows import checked_result, prepare, quotient, row_weights, rows_of
from identity.errors import DomainError
from identity.proven import proven

__all__ = ["aggregate", "token_weights"]


@proven(
    "aggregation.table",
    "aggregation.batch-or-group",
    "aggregation.padding",
    "aggregation.padded-width",
)
def token_weights(
    mask: Array,
    method: str,
    *,
    alpha: float = 1.0,
    constant: float | Array | None = None,
    groups: Array | None = None,
    dtype: Any = None,
) -> Array:
    r"""Weights w of all tokens, with which the loss is Σ w ℓ.

    With B rows, n tokens in the row, N in the batch, N_g in the group of the row, K groups:

    =================  ==============================================================
    method             weight of an unmasked token
    =================  ==============================================================
    ``grpo``           1/(n B): the mean over sequences of their token means
    ``dapo``           1/N: the token mean; 1/(K N_g) with `groups`; 1/constant with a
                       given global token count
    ``dr_grpo``        1/(constant B)
    ``bnpo``           1/N, N of the local batch, which takes no option
    ``sequence_sum``   1/B
    ``delta_l``        (1/(constant K)) n^-alpha / Σ n_j^-alpha over the rows j of the
                       group; without `groups` the whole batch is one group
    ``delta_l_batch``  (1/constant) n^-alpha / Σ n_j^-alpha over the rows of the batch
    =================  ==============================================================

    Parameters
    ----------
    mask : array, shape (B, T)
        1 or True for the tokens that count; B responses, T positions; bool or 0/1 in any dtype.
    method : str
        One of the names above.
    alpha : float
        Exponent of the ΔL methods, a Python number in [-4, 4], rounded to the dtype that computes;
        0 gives all rows with tokens one weight, as ``dr_grpo`` does, 1 has the least variance.
    constant : float or 0-d array, optional
        For ``dr_grpo``, ``delta_l`` and ``delta_l_batch``, required: the maximal completion length
        M, in tokens, a constant of the run. Not the padded width T, which varies from batch to
        batch. For ``dapo``: the token count by which to divide.
    groups : integer array, shape (B,), optional
        Group id of each row, for ``dapo`` and ``delta_l``. Any number of rows each, in any order.
    dtype : dtype or str, optional
        Floating dtype of the result; the library's default one if left out.

    Returns
    -------
    array, shape (B, T)
        Weights, per token, in the library and on the device of `mask`; 0 where masked.

    Raises
    ------
    DomainError
        If a checked precondition fails, or an option is given that the method does not take.

    Notes
    -----
    Every row counts in B, a fully masked one too, since the size of a group is a constant of the
    run; in the ΔL methods a row without tokens weighs 0 and does not enter the sum. A fully masked
    group counts in K.

    *Preconditions (checked)*: shapes and dtypes; mask 0 or 1; constant above 0. *(assumed under
    jit)*: values like that; T and B at most 2²⁴.

    *Postcondition*: each weight within 6 ulp of itself, for the ΔL methods ⌈log₂ B⌉ + 16 ulp; for
    float16 and bfloat16 add ½ ulp of that dtype. They are the gradient of `aggregate`, bit for
    bit, where both are computed eagerly. The padding does not change them.

    References
    ----------
    ``grpo``: arXiv 2402.03300v3, section 4.1. ``dapo``: arXiv 2503.14476v1, section 3.3, a token
    mean over the rollouts of a prompt. ``dr_grpo``: arXiv 2503.20783, section 3, which drops 1/n; a
    constant in its place is what its code divides by, as we read it. ``bnpo``: what TRL's
    ``loss_type`` calls the token mean of the local batch. ``delta_l``: arXiv 2509.07558v1.
    ``delta_l_batch``: as we read the code published with it, which divides n^-alpha by its mean
    over the whole batch and the loss by the padded width, a constant there; it agrees with
    ``delta_l`` without groups.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.aggregation import token_weights
    >>> mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0]])
    >>> token_weights(mask, "grpo")
    array([[0.125, 0.125, 0.125, 0.125],
           [0.5  , 0.   , 0.   , 0.   ]])
    >>> token_weights(mask, "dr_grpo", constant=8)
    array([[0.0625, 0.0625, 0.0625, 0.0625],
           [0.0625, 0.    , 0.    , 0.    ]])
    >>> token_weights(mask, "delta_l", constant=8)
    array([[0.025, 0.025, 0.025, 0.025],
           [0.1  , 0.   , 0.   , 0.   ]])
    """
    batch = prepare(None, mask, method, alpha, constant, groups, dtype)
    xp = batch.xp
    weights = row_weights(batch)[:, None]
    with quiet(xp):
        return xp.astype(xp.where(batch.valid, weights, xp.zeros_like(weights)), batch.dtype)


@proven(
    "aggregation.table",
    "aggregation.batch-or-group",
    "aggregation.padding",
    "aggregation.padded-width",
)
def aggregate(
    loss: Array,
    mask: Array,
    method: str,
    *,
    alpha: float = 1.0,
    constant: float | Array | None = None,
    groups: Array | None = None,
) -> Array:
    """The loss Σ w ℓ of a batch, w as in `token_weights`.

    Parameters
    ----------
    loss : array, shape (B, T)
        Loss ℓ of each token; floating, integer or bool. Masked entries may hold anything.
    mask : array, shape (B, T)
        1 or True for the tokens that count.
    method, alpha, constant, groups
        As in `token_weights`.

    Returns
    -------
    array, 0-d
        The loss, in the dtype of `loss`; 0 for a batch without tokens.

    Raises
    ------
    DomainError
        If a checked precondition fails, an option is given that the method does not take, or the
        dtype cannot hold the result.

    Notes
    -----
    *Preconditions (checked)*: as `token_weights`; losses finite where mask is 1, their sum over a
    row no larger than the dtype that computes can hold; integers exact there. *(assumed under
    jit)*: values like that. Values are read once, at the end, and only if the result is not finite
    are losses searched for the cause.

    *Postcondition*: within ⌈log₂ T⌉ + 2⌈log₂ B⌉ + 24 ulp of Σ w|ℓ|, a bound relative to the terms,
    not to their sum, which may cancel. Masked entries, NaN and infinite ones included, change
    neither value nor gradient, which is exactly 0 there (the gradient with respect to `loss`: what
    a caller computes a masked loss from has to be finite itself). A batch without rows, columns or
    unmasked tokens gives exactly 0 and gradient 0.

    *Padding*: more masked columns at the end change no bit of value or gradient, but the sign
    of a zero; run eagerly, or
    compiled, each by itself: a compiler replaces divisions by a constant, and an eager result may
    differ from a compiled one in the last bits. More masked rows change the mean where B counts
    rows.

    References
    ----------
    As `token_weights`.

    Examples
    --------
    >>> import numpy as np
    >>> from identity.aggregation import aggregate
    >>> loss = np.array([[1.0, 2.0, 3.0, 4.0], [6.0, np.nan, np.nan, np.nan]])
    >>> mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0]])
    >>> print(aggregate(loss, mask, "grpo"), aggregate(loss, mask, "dapo"))
    4.25 3.2
    """
    if loss is None:
        raise DomainError("loss", None, "be an array of real numbers")
    batch = prepare(loss, mask, method, alpha, constant, groups)
    rows = rows_of(batch)
    value = quotient(batch.xp, batch.method, rows.numerator, rows.denominator, batch.ids)
    return checked_result(batch.xp, value, batch.dtype, batch.loss, batch.valid)
