"""Importing the package, and calling it with NumPy arrays, loads no heavy library."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("sympy", "mpmath", "flint", "torch", "jax", "jaxlib", "proofs", "scipy")
CODE = {
    "dynamics": "from identity.dynamics import *; refresh_threshold(.9, 4, 'block');"
    "trajectory((.1, .5), [1., 2.]); cold_start_time(.1, .5, 'grpo', group_size=4)",
    "identity": "import identity",
    "identity.groups": "import identity.groups",
    "groups": "import numpy as np; from identity.groups import grpo_advantages as f;"
    "f(np.array([1., 0.])); f([1, 0], groups=[1, 1])",
    "preference": "import identity.preference as p; p.dpo_loss([0.], [0.], [0.], [0.], beta=1.);"
    "p.two_grpo_update([1, 0], [[1.], [2.]])",
    "aggregation": "import numpy as np; from identity.aggregation import *;"
    "combine([partial_sums(np.ones((2, 3)), np.ones((2, 3)), 'dapo', groups=[0, 1])])",
    "surrogates": "import numpy as np; from identity.surrogates import policy_loss as f, PRESETS;"
    "a = np.zeros((2, 3)); f(a, a, [1, -1], a == 0, clip=(.2, .2), aggregation='grpo')",
    "distillation": "import numpy as np; from identity.distillation import *; a = np.zeros((2, 3));"
    "reverse_kl(a, a, level='token'); geometric_tilt(a, [[0, 1, 2]] * 2, beta=.5);"
    "on_policy_distillation_reward(a, a, credit='to_go', mask=a == 0)",
    "difficulty": "from identity.difficulty import *; difficulty_weight([.5], group_size=8);"
    "paft_estimate([[1.]], [1.], .5, uniforms=[.5]); minimax_efficiency(.5, 'log')",
}


@pytest.mark.parametrize("name", CODE)
def test_no_heavy_library_is_loaded(name: str) -> None:
    code = f"import sys; {CODE[name]}; print([m for m in {HEAVY!r} if m in sys.modules])"
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
