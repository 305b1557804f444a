"""Text that was deleted, and imported again with another wording, never comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from synth_ai import LM, harmony
from synth_ai.errors import UnknownResponseError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("turns_after", [0, 2])
def test_deleted_and_imported_text_does_not_come_back(
    kind: str, turns_after: int, tmp_path: Path
) -> None:
    engine = ScriptedEngine([final_text("ok")] * 9)
    store = None if kind == "memory" else tmp_path / "turns.db"
    lm = LM("gpt-oss-20b", engine=engine, response_store=store)
    first = lm.respond("The password is SWORDFISH.")
    last = first
    for _ in range(turns_after):
        last = lm.respond("Go on.")

    path = tmp_path / "export.jsonl"
    lm.responses.export(path)
    path.write_text(path.read_text().replace("SWORDFISH", "REMOVED"))
    lm.responses.delete(first.response_id, descendants=True)
    lm.responses.import_(path)

    response = lm.respond("What is it?", previous_response_id=last.response_id)
    prompt = harmony.decode(response.prompt_token_ids or [])
    assert "SWORDFISH" not in prompt
    assert "REMOVED" in prompt


def test_a_summary_of_deleted_text_does_not_come_back(tmp_path: Path) -> None:
    """The hook is asked again when the turns that it has read are others."""

    def summarize(items: list[dict[str, object]]) -> str:
        return " ".join(word for word in ["SWORDFISH", "REMOVED"] if word in str(items))

    engine = ScriptedEngine([final_text("ok")] * 20, context_length=400)
    lm = LM("gpt-oss-20b", engine=engine, compact=summarize, max_tokens=20)
    lm.respond("The password is SWORDFISH.")
    last = None
    while last is None or not any("compacted" in warning for warning in last.warnings):
        last = lm.respond("Go on." + " x" * 30)

    path = tmp_path / "export.jsonl"
    lm.responses.export(path)
    path.write_text(path.read_text().replace("SWORDFISH", "REMOVED"))
    for response in reversed(lm.responses.list()):
        lm.responses.delete(response.response_id)
    lm.responses.import_(path)

    response = lm.respond("What is it?", previous_response_id=last.response_id)
    assert "SWORDFISH" not in harmony.decode(response.prompt_token_ids or [])


@pytest.mark.parametrize("api", ["responses", "harmony"])
def test_the_error_after_the_head_was_deleted_says_reset(api: str) -> None:
    if api == "responses":
        lm = LM("m", vendor=ScriptedVendor(["ok"] * 3, remembers=False))
    else:
        lm = LM("gpt-oss-20b", engine=ScriptedEngine([final_text("ok")] * 3))
    lm.responses.delete(lm.respond("Hi").response_id)

    with pytest.raises(UnknownResponseError, match=r"reset\(\)"):
        lm.respond("Hi")
    lm.reset()
    assert lm.respond("Hi").text == "ok"
