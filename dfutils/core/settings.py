"""The base of every group of parameters: values are checked once, and then never change."""

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from dfutils.core.errors import InputError, closest


class Settings(BaseModel):
    """Named values of known types and ranges. Texts such as `1e-4` are converted; other wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, /, **values: Any) -> None:
        """Check names and values.

        Raises:
            InputError: naming the closest right name, or the parameter, its meaning and what is wrong with the value.
        """
        for name in values:
            self.check_name(name)
        try:
            super().__init__(**{name: self._plain(name, value) for name, value in values.items()})
        except ValidationError as error:
            raise InputError("; ".join(self._explain(item) for item in error.errors()) + ".") from None

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        """Return the values of this group alone, out of settings that hold them and others."""
        return cls.model_construct(**{name: getattr(settings, name) for name in cls.model_fields})

    @classmethod
    def check_name(cls, name: str) -> None:
        """Make sure that a name is one of these parameters'.

        Raises:
            InputError: naming the one that a wrong name is most like.
        """
        if name not in cls.model_fields:
            close = closest(name, cls.model_fields, cutoff=0.5)
            hint = f": did you mean {close!r}?" if close else "; `dfutils params FILE` lists them all."
            raise InputError(f"There is no parameter {name!r}{hint}")

    @classmethod
    def _plain(cls, name: str, value: Any) -> Any:
        """Undo what YAML reads differently from what was meant: text that looks like a number, and yes for 1."""
        field = cls.model_fields[name]
        if field.annotation is str and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if field.annotation in (int, float) and isinstance(value, bool):
            kind = "a whole number" if field.annotation is int else "a number"
            raise InputError(f"{name} must be {kind}, not {value} ({field.description}).")
        return value

    @classmethod
    def _explain(cls, item: Mapping[str, Any]) -> str:
        """Turn one of pydantic's findings into a sentence without its full stop."""
        message = re.sub(r"^Value error, ", "", item["msg"])
        if not item["loc"]:
            return message
        name = str(item["loc"][0])
        message = message[0].lower() + message[1:]
        return f"{name} = {item['input']!r} is not possible: {message} ({cls.model_fields[name].description})"
