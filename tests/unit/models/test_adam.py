import copy

import pytest
import torch
from torch import Tensor, nn

from common.adam import Adam


def train(network: nn.Module, optimizer: Adam | torch.optim.Adam, steps: int) -> list[Tensor]:
    """Take steps and return copies of all parameters."""
    for step in range(steps):
        optimizer.zero_grad()
        network(torch.full((3, 4), step + 1.0)).square().mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.fixture
def networks() -> tuple[nn.Module, nn.Module]:
    """Two equal networks."""
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    return network, copy.deepcopy(network)


def test_same_bits_as_torch(networks: tuple[nn.Module, nn.Module]) -> None:
    ours, theirs = networks
    expected = torch.optim.Adam(theirs.parameters(), lr=0.01, fused=True)
    for mine, other in zip(
        train(ours, Adam(ours.parameters(), 0.01), 5), train(theirs, expected, 5), strict=True
    ):
        assert torch.equal(mine, other)


def test_state_is_that_of_torch(networks: tuple[nn.Module, nn.Module]) -> None:
    """A training that began with PyTorch's Adam goes on as if it had kept it."""
    ours, theirs = networks
    before = torch.optim.Adam(theirs.parameters(), lr=0.01, fused=True)
    train(theirs, before, 3)
    ours.load_state_dict(theirs.state_dict())
    after = Adam(ours.parameters(), 0.01)
    after.load_state_dict(before.state_dict())
    for mine, other in zip(train(ours, after, 2), train(theirs, before, 2), strict=True):
        assert torch.equal(mine, other)
    states = zip(
        after.state_dict()["state"].values(), before.state_dict()["state"].values(), strict=True
    )
    for mine_state, other_state in states:
        assert mine_state.keys() == other_state.keys()
        assert all(torch.equal(mine_state[name], other_state[name]) for name in mine_state)
