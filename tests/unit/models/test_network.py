import pytest
import torch

from autoencoder_training import Autoencoder, architecture, reconstruction_errors


def test_normalisation_of_images_and_columns() -> None:
    """The pixels of an image are scaled together, the columns of a table one by one."""
    rows = torch.tensor([[0.0, 1.0, 5.0], [0.0, 3.0, 5.0]])
    network = Autoencoder(**architecture(3))
    network.fit_normalisation(rows, per_column=True)
    assert network.normalise(rows).tolist() == [[0, -1, 0], [0, 1, 0]]
    network.fit_normalisation(rows, per_column=False)
    normalised = network.normalise(rows)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-6)
    assert normalised.std(correction=0).item() == pytest.approx(1)


@pytest.mark.parametrize("width", [1, 2, 3, 16, 64, 784, 5000])
def test_code_is_narrower_than_input(width: int) -> None:
    sizes = architecture(width)
    assert 1 <= sizes["code"] <= max(1, width // 4)
    assert sizes["hidden"] > sizes["code"]
    rows = torch.ones(2, width)
    assert Autoencoder(**sizes)(rows).shape == rows.shape


def test_errors_in_parts_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a sample does not depend on the samples evaluated together with it."""
    network = Autoencoder(**architecture(6))
    rows = torch.randn(50, 6)
    at_once = reconstruction_errors(network, rows)
    monkeypatch.setattr("autoencoder_training.ROWS_AT_A_TIME", 7)
    torch.testing.assert_close(reconstruction_errors(network, rows), at_once)
    assert at_once.shape == (50,)
