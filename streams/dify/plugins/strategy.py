"""Which plugins a tenant wants to have upgraded, and how far."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import RefusedError
from streams.dify.models import TenantPluginAutoUpgradeStrategy
from streams.dify.plugins.daemon import InstalledPlugin

Setting = Literal["disabled", "fix_only", "latest"]
Mode = Literal["all", "partial", "exclude"]
_SETTINGS = ("disabled", "fix_only", "latest")
_MODES = ("all", "partial", "exclude")
FROM_MARKETPLACE = "marketplace"
"""The source of plugins that the marketplace can upgrade. Others are from GitHub, a package or a debugger."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A tenant's strategy."""

    setting: Setting
    mode: Mode
    excluded: frozenset[str]
    included: frozenset[str]
    """Ids of plugins, such as langgenius/openai."""

    @property
    def selects_none(self) -> bool:
        """True: no plugin can be selected, so there is nothing to ask for."""
        return self.setting == "disabled" or (self.mode == "partial" and not self.included)

    def selected(self, plugins: Iterable[InstalledPlugin]) -> list[InstalledPlugin]:
        """Return the plugins that may be upgraded."""
        return [one for one in plugins if one.source == FROM_MARKETPLACE and self._selects(one.plugin_id)]

    def _selects(self, plugin_id: str) -> bool:
        if self.selects_none:
            return False
        if self.mode == "partial":
            return plugin_id in self.included
        return self.mode == "all" or plugin_id not in self.excluded


def make_strategy(setting: str, mode: str, excluded: Iterable[str], included: Iterable[str]) -> Strategy:
    """Return the strategy. Raises RefusedError for an unknown setting or mode.

    Args:
        setting: disabled, fix_only or latest.
        mode: all, partial or exclude.
        excluded: Ids of plugins; of `exclude`.
        included: Ids of plugins; of `partial`.
    """
    if setting not in _SETTINGS:
        message = f"strategy_setting {setting[:40]!r} is none of {', '.join(_SETTINGS)}"
        raise RefusedError(message)
    if mode not in _MODES:
        message = f"upgrade_mode {mode[:40]!r} is none of {', '.join(_MODES)}"
        raise RefusedError(message)
    return Strategy(cast("Setting", setting), cast("Mode", mode), frozenset(excluded), frozenset(included))


async def stored_strategy(session: AsyncSession, tenant_id: str) -> Strategy | None:
    """Return the strategy of a tenant's row; None: it has no row. Raises RefusedError."""
    row = await session.scalar(
        select(TenantPluginAutoUpgradeStrategy).where(TenantPluginAutoUpgradeStrategy.tenant_id == tenant_id)
    )
    if row is None:
        return None
    return make_strategy(row.strategy_setting, row.upgrade_mode, row.exclude_plugins, row.include_plugins)
