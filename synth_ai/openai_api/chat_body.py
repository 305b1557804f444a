"""An answer as the body of a chat completion. Pure.

https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synth_ai.errors import OverloadedError
from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.openai_api.logprobs import find_logprobs, make_chat_logprobs
from synth_ai.openai_api.times import find_start
from synth_ai.response import BaseLMResponse, Usage

#: The finish reasons of answers that stop short.
_FINISH_REASONS: Mapping[str | None, str] = {"content_filter": "content_filter"}
_TRUNCATED = "length"

#: Parts the texts of one message, such as a preamble and the answer behind it.
SEPARATOR = "\n\n"


def make_chat_body(answer: BaseLMResponse, *, model: str) -> JSONObject:
    """Make the body of an answer.

    Its reasoning is in `reasoning`, where vLLM has it: Chat Completions has no field for it.

    Args:
        answer: the answer.
        model: the model to name if the answer names none.
    """
    choice = {
        "index": 0,
        "message": make_message(answer),
        "finish_reason": find_finish_reason(answer),
        "logprobs": make_choice_logprobs(answer),
    }
    return {
        "id": make_chat_id(answer.response_id),
        "object": "chat.completion",
        "created": int(find_start(answer)),
        "model": answer.model or model,
        "choices": [choice],
        "usage": make_chat_usage(answer.usage),
    }


def make_chat_id(response_id: str) -> str:
    """Make the id of a chat completion from that of the response that it is.

    `resp_1f` -> `chatcmpl-1f`
    """
    return f"chatcmpl-{response_id.removeprefix('resp_')}"


def make_message(answer: BaseLMResponse) -> JSONObject:
    """Make the assistant's message of an answer."""
    message: JSONObject = {
        "role": "assistant",
        "content": _join_content(answer),
        "refusal": answer.refusal,
    }
    if answer.reasoning:
        message["reasoning"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = answer.tool_calls

    annotations = make_annotations(answer.output)
    if annotations:
        message["annotations"] = annotations
    return message


def check_answer(answer: BaseLMResponse) -> None:
    """Check that Chat Completions has a word for how an answer ended.

    Raises:
        OverloadedError: it failed, which is an error there.
    """
    if answer.status == "failed":
        raise OverloadedError(f"The answer failed: {answer.error}")


def find_finish_reason(answer: BaseLMResponse) -> str:
    """Find why an answer ended, in the words of Chat Completions."""
    if answer.status == "incomplete":
        return _FINISH_REASONS.get(answer.incomplete_reason, _TRUNCATED)
    return "tool_calls" if answer.tool_calls else "stop"


def make_choice_logprobs(answer: BaseLMResponse) -> JSONObject | None:
    """Make the log probabilities of an answer; None if it has none."""
    if not answer.logprobs:
        return None
    return make_chat_logprobs(find_logprobs(answer.logprobs, answer.text))


def make_chat_usage(usage: Usage | None) -> JSONObject | None:
    """Make the token counts of an answer; None if the backend has none."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens": usage.output_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def make_annotations(output: Iterable[JSONFields]) -> list[JSONObject]:
    """Collect the citations of an answer, in the shape of Chat Completions.

    ::

        {"type": "url_citation", "url": "https://example.com", ...}
        ->  {"type": "url_citation", "url_citation": {"url": "https://example.com", ...}}
    """
    annotations = []
    for item in output:
        for part in _parts_of(item):
            for annotation in part.get("annotations") or ():
                if annotation.get("type") == "url_citation":
                    annotations.append(_nest_citation(annotation))
    return annotations


def _nest_citation(annotation: JSONFields) -> JSONObject:
    citation = {name: value for name, value in annotation.items() if name != "type"}
    return {"type": "url_citation", "url_citation": citation}


def _parts_of(item: JSONFields) -> Iterable[JSONFields]:
    content = item.get("content")
    if item.get("type") != "message" or not isinstance(content, list):
        return ()
    return content


def _join_content(answer: BaseLMResponse) -> str | None:
    texts = [text for text in (answer.preamble, answer.text) if text]
    if texts:
        return SEPARATOR.join(texts)

    has_other = bool(answer.tool_calls or answer.refusal)
    return None if has_other else ""
