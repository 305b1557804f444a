"""What the bodies of both APIs are to type checkers: objects of JSON, whose fields nobody lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

JSONObject: TypeAlias = dict[str, Any]
"""An object of JSON."""

JSONFields: TypeAlias = Mapping[str, Any]
"""An object of JSON that is only read."""
