"""Topic ``difficulty``."""

__all__: list[str] = []
