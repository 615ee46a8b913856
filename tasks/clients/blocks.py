"""Prefect's Secret blocks. Prefect is loaded only when a site really keeps a secret there."""

from __future__ import annotations

import httpx

from runbooks.errors import Unavailable


def read(name: str) -> str | None:
    """The value of the Secret block, or None when there is no such block.

    Raises:
        Unavailable: the Prefect server does not answer.
    """
    from prefect.blocks.system import Secret
    from prefect.exceptions import PrefectException

    try:
        return str(Secret.load(name, _sync=True).get())  # type: ignore[call-arg, union-attr]
    except ValueError:
        return None
    except (httpx.HTTPError, PrefectException, RuntimeError, OSError) as error:
        raise Unavailable(
            f"the Prefect server did not give the Secret block {name!r}: {type(error).__name__}",
            "is PREFECT_API_URL right, and does the server run? a secret may also be a file or a variable",
        ) from error
