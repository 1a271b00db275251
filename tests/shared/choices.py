"""Ways of computing layers that are preferred, not measured."""

from collections.abc import Callable, Mapping

from intgrads.speed.choices import Choices


class Preferring(Choices):
    """Takes the first of some ways that is offered, else the plain one; notes what was asked."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    def fastest(self, question: str, ways: Mapping[str, Callable[[], object]]) -> str:
        """Return the way that is preferred."""
        self.made[question] = next((name for name in self.names if name in ways), next(iter(ways)))
        return self.made[question]
