"""A fixed rule of quadrature as an integral's nodes."""

from __future__ import annotations

from dataclasses import dataclass

from intgrads.integral.convergence import RELATIVE_ERROR, Samples
from intgrads.integral.map_error import ErrorModel, fixed_models
from intgrads.integral.quadrature import Rule


@dataclass(frozen=True)
class FixedNodes:
    """The nodes of a rule, all in one round."""

    of: Rule
    tolerance = RELATIVE_ERROR

    @property
    def name(self) -> str:
        """The rule's."""
        return self.of.name

    @property
    def most(self) -> int:
        """Its nodes."""
        return len(self.of)

    @property
    def known_weights(self) -> dict[float, float]:
        """The weight of each node."""
        return self.of.known_weights

    def start(self, room: int | None = None) -> list[float]:  # noqa: ARG002
        """Return its nodes."""
        nodes: list[float] = self.of.alphas.tolist()
        return nodes

    def more(self, samples: Samples, affordable: int, room: int | None) -> list[float]:  # noqa: ARG002
        """Return no further nodes."""
        return []

    def rule(self, samples: Samples) -> Rule:  # noqa: ARG002
        """Return the rule."""
        return self.of

    def models(self, samples: Samples) -> list[ErrorModel]:
        """Return the error of the map for each target."""
        return fixed_models(self.of, samples)
