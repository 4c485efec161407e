"""Events of plugins."""

from schemas.event import Event


class PluginUpgradeCheckRequested(Event):
    """Compare a tenant's plugins with the marketplace, and upgrade those that its strategy allows."""

    strategy_setting: str
    """disabled, fix_only or latest."""
    upgrade_time_of_day: int
    """Seconds of the UTC day."""
    upgrade_mode: str
    """all, partial or exclude."""
    exclude_plugins: list[str]
    include_plugins: list[str]
