"""Requests that are refused, in the words and with the statuses of OpenAI's service."""

from __future__ import annotations


class RefusedRequestError(Exception):
    """A request that is not answered; it becomes an error body.

    Attributes:
        message: what is wrong, and the way out.
        status: the HTTP status.
        code: OpenAI's code for it, such as `unsupported_parameter`.
        param: the field of the request that is wrong; None if it is not one field.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param


def unsupported_field(field: str, reason: str) -> RefusedRequestError:
    """Make the refusal of a field that the model's API does not take.

    Args:
        field: the field, such as `seed` or `reasoning.summary`.
        reason: why, and the way out, as a sentence.
    """
    return RefusedRequestError(
        f"Unsupported parameter: '{field}' is not supported with this model. {reason}",
        code="unsupported_parameter",
        param=field,
    )


def invalid_field(field: str, reason: str) -> RefusedRequestError:
    """Make the refusal of a value that a field does not take."""
    return RefusedRequestError(
        f"Invalid value for '{field}': {reason}", code="invalid_value", param=field
    )


def unknown_model(model: str, models: str) -> RefusedRequestError:
    """Make the refusal of a model that is not served here.

    Args:
        model: the name that was asked for.
        models: the names that there are.
    """
    return RefusedRequestError(
        f"The model {model!r:.200} does not exist here; there is {models}.",
        status=404,
        code="model_not_found",
        param="model",
    )


def unknown_response(response_id: str) -> RefusedRequestError:
    """Make the refusal of the id of a response that nobody has."""
    return RefusedRequestError(f"Response with id '{response_id:.200}' not found.", status=404)
