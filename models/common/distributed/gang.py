"""The workers that train one network together, by PyTorch's DistributedDataParallel.

Each worker computes the losses of its share of every batch, and all of them take the same step. The
variables are those that the backend sets (docs/own-model.md):

    NNODES       how many workers there are; 1 if it is missing
    NODE_RANK    the rank of this one, from 0. Rank 0 alone writes to the output folder
    MASTER_ADDR  where rank 0 waits for the others
    MASTER_PORT  its port there
"""

import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from common.exceptions import PeerLostError, UnusableError
from common.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

POLL_SECONDS = 0.2
CONNECT_SECONDS = 5.0
SILENCE = timedelta(minutes=30)  # of another worker, after which it counts as lost
WAITING_SECONDS = 10.0  # for the others, after which it is said
LOST = re.compile(r"gloo|[Cc]onnection|[Tt]imed out|[Tt]imeout|Broken pipe|peer")
"""In what PyTorch says when another worker is gone."""


class Gang:
    """The workers of an experiment, of which this process is one.

    Attributes:
        rank: That of this worker, from 0.
        size: How many workers there are.
        here: How many of them are on this machine, as far as is known.
    """

    def __init__(self, rank: int = 0, size: int = 1, here: int = 1):
        self.rank, self.size, self.here = rank, size, here

    @property
    def is_leader(self) -> bool:
        """Whether this worker writes to the output folder."""
        return self.rank == 0

    def parallel(self, network: "nn.Module") -> "nn.Module":
        """Return what computes the network's output, and adds up the gradients of all workers."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        # The buffers of a network are not trained: all workers have the same ones.
        return DistributedDataParallel(network, broadcast_buffers=False)

    def share(self, samples: int) -> slice:
        """Return which of the samples of a batch this worker computes; it may be none."""
        return slice(samples * self.rank // self.size, samples * (self.rank + 1) // self.size)

    def sum(self, loss: "Tensor", stops: bool) -> "tuple[Tensor, bool]":
        """Return the sum of all workers' losses, and whether any of them is asked to stop."""
        import torch
        from torch.distributed import all_reduce

        both = torch.tensor([loss.item(), float(stops)], dtype=torch.float64)
        all_reduce(both)
        return both[0].to(loss.dtype), bool(both[1])

    def from_leader(self, content: bytes | None, identity: Mapping[str, Any]) -> bytes | None:
        """Return the content that the leader has.

        Args:
            content: what to send, of the leader.
            identity: what all workers must have in common.

        Raises:
            UnusableError: the leader has another identity.
        """
        from torch.distributed import broadcast_object_list

        text = json.dumps(identity, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
        sent: list[Any] = [(content, digest)]
        broadcast_object_list(sent, src=0)
        received: bytes | None = sent[0][0]
        if sent[0][1] != digest:
            raise UnusableError(
                f"worker {self.rank} has other parameters or input files than worker 0"
            )
        return received

    def wait_for_all(self) -> None:
        """Return once every worker has come here."""
        if self.size > 1:
            from torch.distributed import barrier

            barrier()


def join(settings: Settings[Any], environment: Mapping[str, str] = os.environ) -> Gang:
    """Return the gang of this process, once all of its workers have joined it.

    They may start at different times, as nodes have room for them: they are waited for as long as
    it takes. A signal ends the process meanwhile.

    Raises:
        UnusableError: MASTER_ADDR or MASTER_PORT is missing.
    """
    if settings.nodes == 1:
        return Gang()
    address, port = environment.get("MASTER_ADDR", ""), environment.get("MASTER_PORT", "")
    if not address or not port.isdecimal():
        raise UnusableError("MASTER_ADDR or MASTER_PORT is missing")
    is_local = _is_loopback(address)
    if is_local:
        # Gloo would otherwise look for the interface of this machine's name, which may have none.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    from torch import distributed

    if settings.rank:
        _wait_for_leader(address, int(port))
    store = distributed.TCPStore(  # type: ignore[attr-defined]
        address, int(port), settings.nodes, settings.rank == 0, SILENCE, wait_for_workers=False
    )
    _wait_for_workers(store, settings)
    distributed.init_process_group(
        "gloo", store=store, rank=settings.rank, world_size=settings.nodes, timeout=SILENCE
    )
    print(f"worker {settings.rank} of {settings.nodes}, all have joined", flush=True)
    return Gang(settings.rank, settings.nodes, settings.nodes if is_local else 1)


@contextmanager
def losing_peers(settings: Settings[Any]) -> Iterator[None]:
    """Raise PeerLostError for what PyTorch raises within, if another worker is gone."""
    try:
        yield
    except RuntimeError as error:
        if settings.nodes == 1 or not LOST.search(str(error)):
            raise
        raise PeerLostError("another worker of this experiment is gone") from error


def _wait_for_leader(address: str, port: int) -> None:
    """Return once rank 0 listens. Its name may be unknown until then."""
    since, told = time.monotonic(), False
    while True:
        try:
            socket.create_connection((address, port), CONNECT_SECONDS).close()
            return
        except OSError as error:
            if not told and time.monotonic() - since > WAITING_SECONDS:
                print(f"waiting for worker 0 at {address}: {error}", flush=True)
                told = True
            time.sleep(POLL_SECONDS)


def _wait_for_workers(store: Any, settings: Settings[Any]) -> None:
    """Return once every worker has a connection to rank 0."""
    store.set(f"joined/{settings.rank}", "")
    missing, since, told = list(range(settings.nodes)), time.monotonic(), False
    while missing := [rank for rank in missing if not store.check([f"joined/{rank}"])]:
        if not told and time.monotonic() - since > WAITING_SECONDS:
            print(f"waiting for worker {', '.join(map(str, missing))}", flush=True)
            told = True
        time.sleep(POLL_SECONDS)


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        return False
