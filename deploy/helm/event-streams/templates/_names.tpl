{{- /* The prefix of all names: the release's name and the chart's, unless one contains the other. */ -}}
{{- define "event-streams.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The labels that select a component's pods: they never change. Arguments: root, component. */ -}}
{{- define "event-streams.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* The labels of an object. Arguments: root, component. */ -}}
{{- define "event-streams.labels" -}}
{{ include "event-streams.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The metadata of an object. Arguments: root, component, name; optionally annotations, labels, namespace. */ -}}
{{- define "event-streams.metadata" -}}
name: {{ .name | quote }}
namespace: {{ default .root.Release.Namespace .namespace | quote }}
labels:
  {{- include "event-streams.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "event-streams.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "event-streams.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "event-streams.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- /* "yes" if an optional object is wanted. Arguments: root, enabled (true, false or auto), api. */ -}}
{{- define "event-streams.wanted" -}}
{{- if eq (toString .enabled) "auto" -}}
{{- if .root.Capabilities.APIVersions.Has .api -}}yes{{- end -}}
{{- else if .enabled -}}yes{{- end -}}
{{- end -}}

{{- /* The values of one pool, as JSON: the defaults with the pool's own. Arguments: root, pool. */ -}}
{{- define "event-streams.pool" -}}
{{- $own := deepCopy (default (dict) (index .root.Values.pools .pool)) -}}
{{- mergeOverwrite (deepCopy .root.Values.poolDefaults) $own | toJson -}}
{{- end -}}

{{- /* The names of the pools that run, as JSON. */ -}}
{{- define "event-streams.pools" -}}
{{- $names := list -}}
{{- range $name := list "high" "default" "low" -}}
{{- if (include "event-streams.pool" (dict "root" $ "pool" $name) | fromJson).enabled -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{- /* A value as text. Helm reads every number as a float, whose own text would be 6.7e+07. */ -}}
{{- define "event-streams.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ int64 . }}
{{- else -}}
{{ toString . }}
{{- end -}}
{{- end -}}

{{- /* The egress rules: DNS for every pod, then the user's. */ -}}
{{- define "event-streams.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{ toYaml .Values.networkPolicy.egress }}
{{- end -}}
