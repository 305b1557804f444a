"""Answers of a given shape while they are being written: the object as far as it is there. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, NewType, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, RootModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import from_json
from typing_extensions import get_type_hints, is_typeddict

from synth_ai.lm.structured_output import ResponseFormat, strip_opening, validate

# A string of JSON, whole or not, of which the quotes between two strings are no part:
#   {"a": "b\"c   -> "a" and "b\"c
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
#   "New<line break>York"  -> the line break
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f]")

#   {"area": 48  ->  48, which may become 480; in {"area": 48, it cannot
_LAST_NUMBER = re.compile(r"-?\d[\d.eE+-]*$")

_UNIONS = (Union, UnionType)
_ARRAYS = (list, Sequence, Iterable)
_MAPPINGS = (dict, Mapping)

#: What a value is of which nothing that fits is there yet.
_MISSING: Final = object()

KeyT = TypeVar("KeyT", str, int)

Fields: TypeAlias = Mapping[str, tuple[str, Any]]
"""The fields of a type by the names that they have in JSON: the name here, and the type."""


class PartialObject:
    """Reads the text of an answer so far into an object.

    Args:
        shape: the shape that was asked for.
    """

    def __init__(self, shape: ResponseFormat) -> None:
        self._shape = shape
        self._reader = _PartialReader()
        self._object: Any = None
        self._text = ""

    def read(self, text: str) -> Any:
        """Return the object so far; None while nothing can be read of it.

        A model or a dataclass is made without its own validation, as most of it is still to come:
        a field that is not there yet, or does not fit yet, has its default, or else None. A
        TypedDict has the keys that are there. For a JSON schema it is plain data.
        """
        if text == self._text:
            return self._object

        self._text = text
        try:
            data = _read_json(strip_opening(text))
        except ValueError:
            # Before the first bracket; or behind the last one, where a control token begins.
            return self._object

        value = self._read_data(data)
        if value is not _MISSING:
            self._object = value
        return self._object

    def _read_data(self, data: object) -> object:
        type_ = self._shape.type
        if type_ is None:
            return data
        if self._shape.is_wrapped and isinstance(data, dict) and data.keys() <= {"value"}:
            return self._reader.read(type_, data["value"]) if data else _MISSING
        return self._reader.read(type_, data)


def _read_json(text: str) -> object:
    """Read JSON that may end anywhere.

    ::

        {"name": "Os          ->  {"name": "Os"}
        {"name": "Oslo", "po  ->  {"name": "Oslo"}
        {"area": 48           ->  {}

    Raises:
        ValueError: it is not the beginning of JSON.
    """
    text = _drop_last_number(text)
    try:
        return from_json(text, allow_partial="trailing-strings")
    except ValueError:
        # Models put raw line breaks into strings.
        escaped = _STRING.sub(_escape_control_characters, text)
        if escaped == text:
            raise
    return from_json(escaped, allow_partial="trailing-strings")


def _drop_last_number(text: str) -> str:
    """Drop a number at the end, of which digits may be missing."""
    if not text[-1:].isdigit() or _ends_in_string(text):
        return text
    return _LAST_NUMBER.sub("", text)


def _ends_in_string(text: str) -> bool:
    """Tell whether JSON breaks off inside a string: after an odd number of quotes."""
    without_escapes = text.replace("\\\\", "").replace('\\"', "")
    return without_escapes.count('"') % 2 == 1


def _escape_control_characters(string: re.Match[str]) -> str:
    return _CONTROL_CHARACTER.sub(lambda found: f"\\u{ord(found[0]):04x}", string[0])


class _PartialReader:
    """Reads data of one growing text of JSON into values of types, as far as it goes."""

    def __init__(self) -> None:
        # The keys and indices that lead to what is being read.
        self._path: list[object] = []
        # What is followed by more is finished and read once, or long answers would be read over and
        # over: by the place of a list or dictionary and the type of its parts, and by their keys.
        self._finished: dict[tuple[object, ...], dict[Any, Any]] = {}
        # By the identity of a type, as not all can be hashed; the type is kept with it, so that no
        # other gets its identity.
        self._adapters: dict[int, tuple[Any, TypeAdapter[Any]]] = {}
        self._fields: dict[type, Fields] = {}

    def read(self, type_: Any, data: object) -> Any:
        """Read data as a type; `_MISSING` if nothing of it fits yet."""
        if isinstance(data, dict):
            return self._read_object(type_, data)
        if isinstance(data, list):
            return self._read_array(type_, data)
        return self._read_value(type_, data)

    def _read_object(self, type_: Any, data: dict[str, Any]) -> Any:
        plain = _unwrap(type_)
        origin = get_origin(plain)
        if origin in _UNIONS:
            return self._read_object_of(get_args(plain), data)
        if origin in _MAPPINGS:
            _, value_type = get_args(plain)
            return self._read_mapping(value_type, data)
        if _is_root_model(plain):
            return self._read_root(plain, data)
        if _is_record(plain):
            return self._read_record(plain, data)
        return self._read_value(type_, data)

    def _read_array(self, type_: Any, data: list[Any]) -> Any:
        plain = _unwrap(type_)
        origin = get_origin(plain)
        if origin in _UNIONS:
            return self._read_array_of(type_, data)
        if origin in _ARRAYS:
            (item_type,) = get_args(plain)
            return self._read_items(item_type, data)
        if _is_root_model(plain):
            return self._read_root(plain, data)
        return self._read_value(type_, data)

    def _read_value(self, type_: Any, data: object) -> Any:
        """Read what has no parts of its own, or none that are known here."""
        try:
            return validate(self._adapter(type_), data)
        except PydanticUserError:
            # Only the model around it can read it: it knows what a name means, or allows any class.
            return data
        except Exception:
            # Not whole yet; a validator of the type's own may say so by any error.
            return _MISSING

    def _read_mapping(self, value_type: Any, data: dict[str, Any]) -> dict[str, Any]:
        return self._read_parts(value_type, data)

    def _read_items(self, item_type: Any, data: list[Any]) -> list[Any]:
        items = self._read_parts(item_type, dict(enumerate(data)))
        return list(items.values())

    def _read_parts(self, type_: Any, parts: dict[KeyT, Any]) -> dict[KeyT, Any]:
        """Read the parts of a list or a dictionary; those of which nothing fits are left out."""
        finished = self._finished.setdefault((*self._path, id(type_)), {})
        last = next(reversed(parts), None)
        values = {}
        for key, data in parts.items():
            if key == last:
                value = self._read_part(key, type_, data)
            elif key in finished:
                value = finished[key]
            else:
                value = finished[key] = self._read_part(key, type_, data)
            if value is not _MISSING:
                values[key] = value
        return values

    def _read_part(self, key: object, type_: Any, data: object) -> Any:
        self._path.append(key)
        value = self.read(type_, data)
        self._path.pop()
        return value

    def _read_root(self, model: type[RootModel[Any]], data: object) -> Any:
        _, type_ = self._fields_of(model)["root"]
        value = self.read(type_, data)
        if value is _MISSING:
            return _MISSING
        return model.model_construct(value)

    def _read_object_of(self, members: Iterable[Any], data: dict[str, Any]) -> Any:
        """Read data as a member of a union: of several records, the only one that fits."""
        records = [member for member in members if _is_record(_unwrap(member))]
        others = [member for member in members if not _is_record(_unwrap(member))]
        if len(records) > 1:
            records = [record for record in records if self._fits(_unwrap(record), data)]
        if len(records) > 1:
            return _MISSING
        return self._read_first([*records, *others], data)

    def _read_array_of(self, union: Any, data: list[Any]) -> Any:
        """Read data as the member of a union that is a list; of several, as any that fits whole."""
        members = get_args(_unwrap(union))
        arrays = [member for member in members if get_origin(_unwrap(member)) in _ARRAYS]
        if len(arrays) == 1:
            return self.read(arrays[0], data)
        return self._read_value(union, data)

    def _read_first(self, members: Iterable[Any], data: object) -> Any:
        """Read data as the first type that fits."""
        for member in members:
            value = self.read(member, data)
            if value is not _MISSING:
                return value
        return _MISSING

    def _fits(self, record: type, data: Mapping[str, Any]) -> bool:
        """Tell whether data may be that of a record, by its keys and by the values without parts.

        What is written last may still grow until it fits.
        """
        fields = self._fields_of(record)
        if data.keys() - fields.keys():
            return False

        for key in list(data)[:-1]:
            _, type_ = fields[key]
            value = data[key]
            has_parts = isinstance(value, (dict, list))
            if not has_parts and self._read_value(type_, value) is _MISSING:
                return False
        return True

    def _read_record(self, record: type, data: dict[str, Any]) -> Any:
        """Read data as a model, a dataclass or a TypedDict."""
        fields = self._fields_of(record)
        values = {}
        for key, data_of_field in data.items():
            if key not in fields:
                continue
            name, type_ = fields[key]
            value = self._read_part(key, type_, data_of_field)
            if value is not _MISSING:
                values[name] = value
        return _make_record(record, values)

    def _fields_of(self, record: type) -> Fields:
        if record not in self._fields:
            self._fields[record] = _find_fields(record)
        return self._fields[record]

    def _adapter(self, type_: Any) -> TypeAdapter[Any]:
        known = self._adapters.get(id(type_))
        if known is not None:
            return known[1]

        adapter = TypeAdapter(type_)
        self._adapters[id(type_)] = (type_, adapter)
        return adapter


def _unwrap(type_: Any) -> Any:
    """Return the type behind names and metadata.

    ::

        Annotated[list[City], Field(min_length=1)]  ->  list[City]
        type Cities = list[City]                    ->  list[City]
        NewType("Metres", int)                      ->  int
    """
    while True:
        if get_origin(type_) is Annotated:
            type_ = get_args(type_)[0]
        elif hasattr(type_, "__value__"):
            type_ = type_.__value__
        elif isinstance(type_, NewType):
            type_ = type_.__supertype__
        else:
            return type_


def _is_root_model(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, RootModel)


def _is_model(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel)


def _is_record(type_: Any) -> bool:
    """Tell whether a type has named fields that can be there one after the other."""
    return _is_model(type_) or is_typeddict(type_) or dataclasses.is_dataclass(type_)


def _find_fields(record: type) -> Fields:
    if issubclass(record, BaseModel):
        # Names in it that were unknown when the class was made may be known by now.
        record.model_rebuild(raise_errors=False)
        fields = {}
        for name, field in record.model_fields.items():
            for key in _keys_of(name, field):
                fields[key] = (name, _type_of(field))
        return fields

    try:
        types = get_type_hints(record)
    except NameError:
        # Those of a class inside a function are not to be found from outside.
        types = {}
    names = types or record.__annotations__
    return {name: (name, types.get(name, Any)) for name in names}


def _keys_of(name: str, field: FieldInfo) -> list[str]:
    """Return the names that a field may have in JSON."""
    keys = [name]
    for alias in (field.alias, field.validation_alias):
        if isinstance(alias, str):
            keys.append(alias)
    return keys


def _type_of(field: FieldInfo) -> Any:
    if not field.metadata:
        return field.annotation
    return Annotated[(field.annotation, *field.metadata)]


def _make_record(record: type, values: dict[str, Any]) -> Any:
    make: Callable[[Any, dict[str, Any]], Any] = _make_dataclass
    if is_typeddict(record):
        return values
    if _is_model(record):
        make = _make_model
    try:
        return make(record, values)
    except Exception:
        # Code of the class itself that cannot do with unfinished fields, such as `model_post_init`.
        return _MISSING


def _make_model(model: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    missing: dict[str, None] = {}
    for name, field in model.model_fields.items():
        if name not in values and field.is_required():
            missing[name] = None
    return model.model_construct(set(values), **missing, **values)


def _make_dataclass(class_: type, values: dict[str, Any]) -> Any:
    made: Any = object.__new__(class_)
    for field in dataclasses.fields(class_):
        object.__setattr__(made, field.name, values.get(field.name, _default_of(field)))
    return made


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None
