"""A fixed rule of quadrature as an integral's nodes, and where else its error wants a gradient."""

from __future__ import annotations

from dataclasses import dataclass

from intgrads.integral.convergence import RELATIVE_ERROR, Samples
from intgrads.integral.map_error import FEWEST, fixed_models
from intgrads.integral.quadrature import Rule
from intgrads.integral.walk import ErrorModel


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
        """Return its nodes, with both ends of the path where those tell of its error.

        The error of a one-sided rule is all in the difference between the ends, and fewer than five nodes are too few
        to tell anything. Elsewhere the ends are left out: gradients that no sum needs cost time, and at a baseline of
        equal pixels they can be like nowhere else.
        """
        nodes: list[float] = self.of.alphas.tolist()
        if len(nodes) < FEWEST or nodes[0] == 0 or nodes[-1] == 1:
            nodes = sorted({0.0, *nodes, 1.0})
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
