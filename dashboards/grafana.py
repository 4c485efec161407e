"""Dashboards in Grafana's JSON, by its foundation SDK."""

import json
import string
from collections.abc import Sequence

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.panels import ChoiceVariable, Dashboard, LabelVariable, Panel, Query, Variable

TAG = "streams"
"""Every dashboard has it. The list of links at the top of each consists of those that do."""
SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_LETTERS = string.ascii_uppercase

PanelBuilder = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel


def render(content: Dashboard, runbooks: str) -> str:
    """Return a dashboard as the JSON that Grafana reads.

    Args:
        content: The dashboard.
        runbooks: The address of the folder of the runbooks, for the links.
    """
    page = (
        build.Dashboard(content.title)
        .uid(content.uid)
        .description(content.description)
        .tags([TAG])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .links(
            [
                build.DashboardLink("Dashboards")
                .type(dashboard.DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .keep_time(True)  # noqa: FBT003 - the SDK's signature
                .include_vars(True),  # noqa: FBT003 - the SDK's signature
                *(
                    _runbook(runbooks, page)
                    for page in sorted({panel.runbook for panel in content.panels() if panel.runbook is not None})
                ),
            ]
        )
        .with_variable(build.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for variable in content.variables:
        page.with_variable(_variable(variable))
    number = 0
    for row in content.rows:
        number += 1
        page.with_row(build.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            page.with_panel(_panel(panel, number, runbooks))
    return json.dumps(json.loads(JSONEncoder().encode(page.build())), indent=2, sort_keys=True) + "\n"


def _variable(variable: Variable) -> build.QueryVariable | build.CustomVariable:
    match variable:
        case LabelVariable():
            made = (
                build.QueryVariable(variable.name)
                .label(variable.label)
                .datasource(SOURCE)
                .query(variable.query)
                .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
                .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
                .multi(True)  # noqa: FBT003 - the SDK's signature
                .include_all(True)  # noqa: FBT003 - the SDK's signature
                .all_value(".*")
                .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
            )
            return made if variable.regex is None else made.regex(variable.regex)
        case ChoiceVariable():
            (text, value), *_ = variable.values
            return (
                build.CustomVariable(variable.name)
                .label(variable.label)
                .description(variable.description)
                .values(", ".join(f"{name} : {one}" for name, one in variable.values))
                .current(dashboard.VariableOption(selected=True, text=text, value=value))
            )


def _panel(panel: Panel, number: int, runbooks: str) -> PanelBuilder:
    made = _visualization(panel)
    made.id(number).title(panel.title).description(panel.description).datasource(SOURCE)
    made.unit(panel.unit).span(panel.width).height(panel.height)
    made.targets(_targets(panel))
    if panel.none_text is not None:
        made.no_value(panel.none_text)
    if panel.runbook is not None:
        made.links([_runbook(runbooks, panel.runbook)])
    steps = [dashboard.Threshold(value=None, color="green")]
    if panel.warn_from is not None:
        steps.append(dashboard.Threshold(value=panel.warn_from, color="red"))
    made.thresholds(build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
    return made


def _visualization(panel: Panel) -> PanelBuilder:
    match panel.kind:
        case "stat":
            return (
                stat.Panel()
                .reduce_options(build_common.ReduceDataOptions().calcs(["lastNotNull"]))
                .color_mode(common.BigValueColorMode.BACKGROUND if panel.warn_from else common.BigValueColorMode.VALUE)
            )
        case "table":
            made = table.Panel().transformations(_one_table(panel.queries))
            for query in panel.queries:
                if query.unit is not None:
                    made.override_by_name(query.legend, [dashboard.DynamicConfigValue("unit", query.unit)])
            return made
        case "heatmap":
            return heatmap.Panel()
        case "timeseries":
            graph = (
                timeseries.Panel()
                .fill_opacity(10)
                .min(0)
                .legend(
                    build_common.VizLegendOptions()
                    .display_mode(common.LegendDisplayMode.TABLE)
                    .placement(common.LegendPlacement.BOTTOM)
                    .show_legend(True)  # noqa: FBT003 - the SDK's signature
                    .calcs(["lastNotNull", "max"])
                )
                .tooltip(build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
            )
            if panel.warn_from is not None:
                style = build_common.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE)
                graph.thresholds_style(style)
            return (
                graph.stacking(build_common.StackingConfig().mode(common.StackingMode.NORMAL))
                if panel.stacked
                else graph
            )


def _targets(panel: Panel) -> list[Builder[Dataquery]]:
    targets: list[Builder[Dataquery]] = []
    for letter, query in zip(_LETTERS, panel.queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend).datasource(SOURCE)
        if panel.kind == "table":
            target.instant().format(PromQueryFormat.TABLE)
        elif panel.kind == "heatmap":
            target.range().format(PromQueryFormat.HEATMAP)
        else:
            target.range()
        targets.append(target)
    return targets


def _one_table(queries: Sequence[Query]) -> list[dashboard.DataTransformerConfig]:
    """Join the queries of a table by their labels; each has a column named by its legend."""
    names = {f"Value #{letter}": query.legend for letter, query in zip(_LETTERS, queries, strict=False)}
    if len(queries) == 1:
        names["Value"] = queries[0].legend
    return [
        dashboard.DataTransformerConfig(id_val="merge", options={}),
        dashboard.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": names, "indexByName": {}}
        ),
    ]


def _runbook(runbooks: str, page: str) -> build.DashboardLink:
    return (
        build.DashboardLink(f"Runbook: {page.replace('-', ' ')}")
        .type(dashboard.DashboardLinkType.LINK)
        .icon("doc")
        .target_blank(True)  # noqa: FBT003 - the SDK's signature
        .url(f"{runbooks}/{page}.md")
    )
