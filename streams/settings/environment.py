"""The source of settings: the environment variables of the process."""

import os
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource


class EnvironmentSource(PydanticBaseSettingsSource):
    """The variables whose names are the prefix and a setting's name, in upper or lower case.

    Each value is given to the validation as it is, also that of a list: none is JSON by its type alone. The library's
    own source looks at the type of each of some 190 settings for that, which takes ten times as long as the rest.
    """

    def __init__(self, settings_class: type[BaseSettings]) -> None:
        super().__init__(settings_class)
        self._variables = {name.lower(): value for name, value in os.environ.items()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the interface
        """Return the value of a setting, its name, and that it is no JSON."""
        return self._variables.get(f"{self.config.get('env_prefix', '')}{field_name}".lower()), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the values by setting. A setting without a variable is left out."""
        values = (
            (name, self.get_field_value(field, name)[0]) for name, field in self.settings_cls.model_fields.items()
        )
        return {name: value for name, value in values if value is not None}
