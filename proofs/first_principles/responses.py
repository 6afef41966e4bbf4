"""Section 8, responses of several tokens: the paths of a tree with a law at every prefix.

The divergence of responses is a sum over all of them, differentiated as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product

from .definitions import Count
from .divergence import Direction, Law, directions, gradient_backward, gradient_forward, log_policy
from .divergence import divergence as kl
from .jets import Jet, Logs, log_of

F = Fraction
Prefix = tuple[int, ...]
Tree = dict[Prefix, Law]  # the law of the next token after every prefix
Gradient = Callable[[Tree, Tree, Prefix, Direction], Logs]

_BINARY: tuple[Law, ...] = (
    (F(1, 2), F(1, 2)),
    (F(1, 4), F(3, 4)),
    (F(5, 6), F(1, 6)),
    (F(2, 3), F(1, 3)),
)


def add(terms: list[Logs]) -> Logs:
    """Their sum; 0 for none."""
    return sum(terms, Logs({}))


def prefixes(length: int, kinds: int = 2) -> Iterator[Prefix]:
    for n in range(length):
        yield from product(range(kinds), repeat=n)


def trees(length: int) -> Iterator[tuple[Tree, Tree]]:
    """Students and teachers: two whose laws are all over the place, and one that agrees early."""
    names = list(prefixes(length))
    for a, b in ((1, 2), (3, 1)):
        student = {name: _BINARY[(a * n) % 4] for n, name in enumerate(names)}
        teacher = {name: _BINARY[(b * n + 1) % 4] for n, name in enumerate(names)}
        yield student, teacher
    yield student, {name: student[name] if len(name) < length - 1 else teacher[name]
                    for name in names}  # fmt: skip


def moved(tree: Tree, node: Prefix, direction: Direction) -> dict[Prefix, list[Jet]]:
    """log π of the next token after every prefix, the logits after one of them moving."""
    still = (F(0), F(0))
    return {p: log_policy(law, direction if p == node else still) for p, law in tree.items()}


def response_gradient(student: Tree, teacher: Tree, node: Prefix, direction: Direction) -> Logs:
    """∇ Σ P (log P − log Q) over whole responses, each with its own probability."""
    logs = moved(student, node, direction)
    length = 1 + max(map(len, student))
    slope = Logs({})
    for response in product(range(2), repeat=length):
        chance = F(1)
        score, ratio = F(0), Logs({})
        for n, token in enumerate(response):
            before = response[:n]
            chance *= student[before][token]
            score += logs[before][token].slope
            ratio = ratio + log_of(student[before][token] / teacher[before][token])
        # d(P (log P − log Q)) = P · score · (log P − log Q) + P · score
        slope = slope + (ratio * score + score) * chance
    return slope


def reached(tree: Tree, node: Prefix) -> Fraction:
    """The probability of a prefix."""
    chance = F(1)
    for n, token in enumerate(node):
        chance *= tree[node[:n]][token]
    return chance


def per_token_gradient(student: Tree, teacher: Tree, node: Prefix, direction: Direction) -> Logs:
    """∇ of the next token's divergence at every prefix, weighted by a constant probability."""
    own = gradient_forward(student[node], teacher[node], direction)
    return own * reached(student, node)


def later(student: Tree, teacher: Tree, node: Prefix) -> Logs:
    """The divergence of all that follows a prefix."""
    if node not in student:
        return Logs({})
    here = kl(student[node], teacher[node])
    after = [later(student, teacher, (*node, k)) * p for k, p in enumerate(student[node])]
    return here + add(after)


def future(student: Tree, teacher: Tree, node: Prefix, direction: Direction) -> Logs:
    """E[∇log π(token) · divergence of what follows it]."""
    scores = [log.slope for log in log_policy(student[node], direction)]
    terms = [
        later(student, teacher, (*node, k)) * (p * s)
        for k, (p, s) in enumerate(zip(student[node], scores, strict=True))
    ]
    return add(terms) * reached(student, node)


def to_go(student: Tree, teacher: Tree, node: Prefix, direction: Direction) -> Logs:
    """Σ over responses of P · score of the token after the prefix · log-ratios from there on."""
    length = 1 + max(map(len, student))
    logs = log_policy(student[node], direction)
    slope = Logs({})
    for response in product(range(2), repeat=length):
        if response[: len(node)] != node:
            continue
        ratios = [
            log_of(student[response[:n]][response[n]] / teacher[response[:n]][response[n]])
            for n in range(len(node), length)
        ]
        score = logs[response[len(node)]].slope
        slope = slope + add(ratios) * (score * reached(student, response))
    return slope


def forward_gradient(student: Tree, teacher: Tree, node: Prefix, direction: Direction) -> Logs:
    """∇ Σ Q (log Q − log P) over whole responses."""
    logs = moved(student, node, direction)
    length = 1 + max(map(len, student))
    slope = Logs({})
    for response in product(range(2), repeat=length):
        score = sum((logs[response[:n]][k].slope for n, k in enumerate(response)), F(0))
        slope = slope - Logs({(): F(reached(teacher, response) * score)})
    return slope


def forward_per_token(student: Tree, teacher: Tree, node: Prefix, direction: Direction) -> Logs:
    """∇KL(π_T‖π) of the next token, at the teacher's prefixes."""
    return gradient_backward(student[node], teacher[node], direction) * reached(teacher, node)


def future_terms(
    *,
    missing: Gradient = future,
    credit: Gradient = to_go,
    of_teacher: Gradient = forward_per_token,
) -> int:
    """Trees of 2 and 3 tokens of two kinds, the logits after every prefix moving in turn."""
    count = Count()
    for length in (2, 3):
        for student, teacher in trees(length):
            for node, b in product(prefixes(length), directions(2)):
                at = {"π": student, "π_T": teacher, "prefix": node, "b": b}
                whole = response_gradient(student, teacher, node, b)
                own = per_token_gradient(student, teacher, node, b)
                count.equal(whole, own + missing(student, teacher, node, b), "own + future", **at)
                count.equal(whole, credit(student, teacher, node, b), "log-ratios to go", **at)
                found = forward_gradient(student, teacher, node, b)
                count.equal(found, of_teacher(student, teacher, node, b), "∇KL(π_T‖π)", **at)
    return count.cases


def per_token_kl(
    *, teacher_after: Law = _BINARY[1], per_token: Gradient = per_token_gradient
) -> int:
    """The witness: a per-token gradient of 0 where the gradient is (1/8) log(4/3).

    In every tree some direction tells them apart, and in its last tokens none does.
    """
    count = Count()
    even = _BINARY[0]
    student: Tree = {(): even, (0,): even, (1,): even}
    teacher: Tree = {(): even, (0,): even, (1,): teacher_after}
    b: Direction = (F(0), F(1))
    found = (per_token(student, teacher, (), b), response_gradient(student, teacher, (), b))
    count.equal(found, (0, log_of(F(4, 3)) * F(1, 8)), "0, and (1/8) log(4/3)", π_T=teacher_after)
    for length in (2, 3):
        for student, teacher in trees(length):
            differs = False
            for node, b in product(prefixes(length), directions(2)):
                whole = response_gradient(student, teacher, node, b)
                own = per_token(student, teacher, node, b)
                differs = differs or whole != own
                if len(node) == length - 1:
                    count.equal(own, whole, "nothing follows the last token", prefix=node, b=b)
            count.true(differs, "the gradients differ in some direction", π=student, π_T=teacher)
    return count.cases
