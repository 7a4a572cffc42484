from .model import Model as Model
from .model import load as load

__version__: str
__all__ = ("Model", "load")
