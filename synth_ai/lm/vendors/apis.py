"""The APIs of the built-in vendors."""

from __future__ import annotations

from synth_ai.api import API
from synth_ai.options import options_of

#: Many people call this API in loops over data sets, with one LM: such calls must not chain.
CHAT = API(name="chat", options=options_of("chat"), takes_unknown_options=True)

RESPONSES = API(
    name="responses",
    options=options_of("responses"),
    keeps_responses=True,
    chains=True,
    truncates=True,
    takes_unknown_options=True,
)

HARMONY = API(name="harmony", options=options_of("harmony"), chains=True, ends_at_a_call=True)

BUILT_IN: dict[str, API] = {api.name: api for api in (CHAT, RESPONSES, HARMONY)}
