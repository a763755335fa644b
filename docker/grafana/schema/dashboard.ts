// A dashboard as Grafana's own types have it, with the options of those kinds of panel that ours has: the types leave
// them open. Read by docker/grafana/run.

import type { Dashboard as Any, FieldConfig, FieldConfigSource, Panel, RowPanel } from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type { Options as StatOptions } from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type { Options as SeriesOptions, FieldConfig as SeriesField } from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';
import type { Options as TableOptions, FieldConfig as TableField } from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';

interface Query {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  expr: string;
  legendFormat: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  range?: boolean;
}

type Of<Type, Options, Field> = Omit<Panel, 'type' | 'options' | 'targets' | 'fieldConfig'> & {
  type: Type;
  options: Options;
  targets: Query[];
  fieldConfig: Omit<FieldConfigSource, 'defaults'> & {
    defaults: Omit<FieldConfig, 'custom'> & { custom?: Field };
  };
};

type PanelOfOurs =
  | Of<'stat', StatOptions, never>
  | Of<'timeseries', SeriesOptions, SeriesField>
  | Of<'table', Partial<TableOptions>, Partial<TableField>>
  | RowPanel;

export type Dashboard = Omit<Any, 'panels'> & { panels: PanelOfOurs[] };
