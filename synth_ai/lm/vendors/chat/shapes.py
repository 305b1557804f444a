"""The bodies of Chat Completions, as far as they are read or made here.

What servers send is not checked against these shapes: every field may be missing, null or something
else. What reads it expects the shape, and `malformed_as` reports the rest.

https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from synth_ai.content import ToolCall

# --- what servers send ------------------------------------------------------------------------


class ChatPart(TypedDict, total=False):
    """A part of the content of a message: text, or thinking, as Mistral's models send it."""

    type: str
    text: str
    thinking: str | Sequence[ChatPart]


class ReasoningDetail(TypedDict, total=False):
    """A piece of reasoning as OpenRouter and Snowflake send it, with its signature or encrypted.

    https://openrouter.ai/docs/use-cases/reasoning-tokens
    """

    type: str
    index: int
    text: str
    summary: str
    data: str
    signature: str


class ChatAudio(TypedDict, total=False):
    """What a model has spoken: the sound in base 64, its text, and when the server forgets it."""

    id: str
    data: str
    transcript: str
    expires_at: float


class ChatCalled(TypedDict, total=False):
    """What a call calls: a function with `arguments`, a custom tool with `input`."""

    name: str
    arguments: object
    input: object


class ChatToolCall(TypedDict, total=False):
    """A call, or in a stream a piece of one; `index` tells the calls of a stream apart."""

    index: int
    id: str
    type: str
    function: ChatCalled
    custom: ChatCalled
    extra_content: object


class ChatAnnotation(TypedDict, total=False):
    """A note on a part of the text, such as the page that it is from."""

    type: str
    url_citation: Mapping[str, object]


class ChatMessage(TypedDict, total=False):
    """The message of an answer, or in a stream the delta that adds to it.

    vLLM has renamed `reasoning_content` to `reasoning`; other servers kept the name. Older servers
    make one call at most, as `function_call`.
    """

    content: str | Sequence[ChatPart] | None
    reasoning: str
    reasoning_content: str
    reasoning_details: Sequence[ReasoningDetail]
    refusal: str
    audio: ChatAudio
    annotations: Sequence[ChatAnnotation]
    tool_calls: Sequence[ChatToolCall]
    function_call: ChatCalled


class ChatLogprobs(TypedDict, total=False):
    """The log probabilities of an answer: an entry for each token."""

    content: Sequence[dict[str, object]]


class ChatChoice(TypedDict, total=False):
    """One of the answers: a whole one with a `message`, or a piece of one with a `delta`."""

    message: ChatMessage
    delta: ChatMessage
    finish_reason: str
    logprobs: ChatLogprobs
    error: object


class ChatTokenDetails(TypedDict, total=False):
    """Of which kind some of the counted tokens are."""

    cached_tokens: int
    reasoning_tokens: int


class ChatUsage(TypedDict, total=False):
    """How many tokens a call took."""

    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: ChatTokenDetails
    completion_tokens_details: ChatTokenDetails


class GroqInfo(TypedDict, total=False):
    """What Groq adds to a chunk: in the last one, the usage of a stream."""

    usage: ChatUsage


class ChatBody(TypedDict, total=False):
    """The body of an answer, or a chunk of it."""

    id: str
    model: str
    choices: Sequence[ChatChoice]
    usage: ChatUsage
    x_groq: GroqInfo


# --- what is sent -----------------------------------------------------------------------------


class SentAudio(TypedDict):
    """The sound of an earlier answer, by the id that its server knows it by."""

    id: str


class SentAssistantMessage(TypedDict):
    """What the model said in one turn. Its reasoning is in the field in which it came."""

    role: Literal["assistant"]
    content: str | list[Mapping[str, object]] | None
    audio: NotRequired[SentAudio]
    name: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    reasoning: NotRequired[str]
    reasoning_content: NotRequired[str]
    reasoning_details: NotRequired[list[Mapping[str, object]]]
