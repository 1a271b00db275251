"""A client of the server, light to import: it asks for attributions and gives back arrays. It needs no PyTorch."""

from intgrads.client.client import AsyncClient, Client
from intgrads.client.errors import ClientError, NotReachedError, RefusedError
from intgrads.client.options import Options
from intgrads.client.result import Result

__all__ = ["AsyncClient", "Client", "ClientError", "NotReachedError", "Options", "RefusedError", "Result"]
