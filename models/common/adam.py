"""Adam without the start-up cost of `torch.optim.Adam`.

The first method call of any class derived from `torch.optim.Optimizer` imports `torch._dynamo`, the
compiler, which takes as long as importing PyTorch itself and is not used here. PyTorch's functional
form of Adam does without. It updates the weights by the same fused kernel, to the same bits.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""PyTorch's defaults."""


class Adam:
    """Updates parameters as `torch.optim.Adam(parameters, lr=learning_rate, fused=True)` does.

    `state_dict` and `load_state_dict` use the format of that class.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float):
        self.learning_rate = learning_rate
        self._parameters = [one for one in parameters if one.requires_grad]
        self._means = [torch.zeros_like(one) for one in self._parameters]
        self._squares = [torch.zeros_like(one) for one in self._parameters]
        self._steps = [torch.zeros((), device=one.device) for one in self._parameters]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters by their gradients, all of which must exist."""
        adam(
            self._parameters,
            [one.grad for one in self._parameters if one.grad is not None],
            self._means,
            self._squares,
            [],
            self._steps,
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each parameter by its number, as `torch.optim.Adam` returns it."""
        states = zip(self._steps, self._means, self._squares, strict=True)
        return {
            "state": {
                number: {"step": step, "exp_avg": mean, "exp_avg_sq": square}
                for number, (step, mean, square) in enumerate(states)
            },
            "param_groups": [
                {"lr": self.learning_rate, "params": list(range(len(self._parameters)))}
            ],
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Copy the state that was saved; a parameter without one has not been updated yet."""
        for number, state in saved["state"].items():
            self._steps[number].copy_(state["step"])
            self._means[number].copy_(state["exp_avg"])
            self._squares[number].copy_(state["exp_avg_sq"])
