"""A client of the Hugging Face hub: it lists, chooses, downloads and caches the files that serving needs."""

from .choice import PARTS, PRECISIONS, Wish
from .client import Hub, Plan
from .download import Transfer
from .errors import HubError
from .identifiers import HubId
from .settings import HubSettings

__all__ = ["PARTS", "PRECISIONS", "Hub", "HubError", "HubId", "HubSettings", "Plan", "Transfer", "Wish"]
