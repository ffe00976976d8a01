"""How routes tell the OpenAPI document about their errors."""

from http import HTTPStatus

from litestar.openapi.datastructures import ResponseSpec

from orchestrator.api.problems import MEDIA_TYPE
from orchestrator.protocol.chat import Problem

EVERYWHERE = (400, 401, 403, 421, 500)
"""May come from any route that is not public."""


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Documented refusals, each a problem detail."""
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=f"Problem details: {HTTPStatus(status).phrase.lower()}.",
            generate_examples=False,
            media_type=MEDIA_TYPE,
        )
        for status in sorted({*EVERYWHERE, *statuses})
    }
