"""Topic ``distillation``."""

__all__: list[str] = []
