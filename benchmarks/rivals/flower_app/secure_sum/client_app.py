"""The member's side: reads its vector and leaves the rest to Flower's `secaggplus_mod`.

Every member has weight 1, so that Flower's weighted mean times the number of members is the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.client import Client


class VectorClient(NumPyClient):
    """A client whose training result is a vector of 16-bit integers from a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def fit(
        self, parameters: list[np.ndarray], config: dict[str, object]
    ) -> tuple[list[np.ndarray], int, dict[str, object]]:
        """Return the vector as float32, which holds such integers exactly."""
        del parameters, config
        return [np.load(self.path).astype(np.float32)], 1, {}


def client_fn(context: Context) -> Client:
    """Return the client of the vector that the node's configuration names."""
    return VectorClient(str(context.node_config["vector"])).to_client()


app = ClientApp(client_fn, mods=[secaggplus_mod])
