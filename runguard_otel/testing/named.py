"""What telemetry calls a scripted provider and its model."""

from __future__ import annotations

__all__ = ["Named"]


class Named:
    """A provider with the two names that LiveKit asks for; stands before its base class."""

    _provider_name: str
    _model_name: str

    @property
    def provider(self) -> str:
        """The vendor's name."""
        return self._provider_name

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model_name
