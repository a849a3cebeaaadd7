"""The first stage of a two-stage pipeline."""

from typing import Any

RANKER = "ranker"


def without_ranker(data: dict[str, Any]) -> dict[str, Any]:
    """
    Take the ranker out of a pipeline: what came before it is connected with what came after.

    :param data: From `read_pipeline`; left unchanged.
    """
    before = next(c["sender"] for c in data["connections"] if c["receiver"] == f"{RANKER}.documents")
    connections = [
        {**c, "sender": before if c["sender"] == f"{RANKER}.documents" else c["sender"]}
        for c in data["connections"]
        if not c["receiver"].startswith(f"{RANKER}.")
    ]
    components = {name: component for name, component in data["components"].items() if name != RANKER}
    rest = {**data, "components": components, "connections": connections}
    if "inputs" in data:  # the ranker is no longer fed
        rest["inputs"] = {
            name: [socket for socket in sockets if not socket.startswith(f"{RANKER}.")] if isinstance(sockets, list) else sockets
            for name, sockets in data["inputs"].items()
        }
    return rest
