{{- /* A delay as it stands in the name of a retry topic: 60s is 1m. */ -}}
{{- define "event-streams.delay" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $ms := mul (regexFind "^[0-9]+" . | int64) (index $units $unit) -}}
{{- if mod $ms 1000 -}}
{{ $ms }}ms
{{- else if and $ms (eq (mod $ms 86400000) 0) -}}
{{ div $ms 86400000 }}d
{{- else if and $ms (eq (mod $ms 3600000) 0) -}}
{{ div $ms 3600000 }}h
{{- else if and $ms (eq (mod $ms 60000) 0) -}}
{{ div $ms 60000 }}m
{{- else -}}
{{ div $ms 1000 }}s
{{- end -}}
{{- end -}}

{{- /*
The topics of this release as JSON: `topics` (name, dlq, pool, partitions, retentionMs, handled) and `tiers` (name, pool,
partitions). `handled` is false for a topic without a handler: no group reads it. The built-in ones come from files/catalogue.json, which is made from the code.
*/ -}}
{{- define "event-streams.catalogue" -}}
{{- $file := .Files.Get "files/catalogue.json" | fromJson -}}
{{- $changed := default (dict) .Values.overrides.topics -}}
{{- $topics := list -}}
{{- $most := dict -}}
{{- range concat $file.topics .Values.extraTopics -}}
{{- $own := default (dict) (index $changed .name) -}}
{{- $pool := default .pool $own.pool -}}
{{- $partitions := int (coalesce $own.partitions .partitions $.Values.partitions) -}}
{{- $name := printf "%s%s" $.Values.topicPrefix .name -}}
{{- $topics = append $topics (dict
      "name" $name
      "dlq" (printf "%s.%s.dlq" $name $.Values.application)
      "pool" $pool
      "partitions" $partitions
      "retentionMs" (int64 (default $file.retentionMs .retentionMs))
      "handled" (or (not (hasKey . "handled")) (has .name $.Values.handledTopics))) -}}
{{- $_ := set $most $pool (max $partitions (default 0 (index $most $pool))) -}}
{{- end -}}
{{- $tiers := list -}}
{{- range $pool := list "high" "default" "low" -}}
{{- if hasKey $most $pool -}}
{{- range $delay := $.Values.retryDelays -}}
{{- $tiers = append $tiers (dict
      "name" (printf "%s%s.%s.retry.%s" $.Values.topicPrefix $.Values.application $pool (include "event-streams.delay" $delay))
      "pool" $pool
      "partitions" (index $most $pool)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "topics" $topics "tiers" (uniq $tiers) "config" $file.config | toJson -}}
{{- end -}}

{{- /* The overrides as TOML. Each value is JSON, which TOML reads alike. */ -}}
{{- define "event-streams.overrides" -}}
{{- range $section := list "handlers" "topics" "pools" -}}
{{- range $name, $fields := default (dict) (index $.Values.overrides $section) }}
[{{ $section }}.{{ $name | quote }}]
{{- range $field, $value := $fields }}
{{- if kindIs "map" $value }}
{{- range $part, $inner := $value }}
{{ $field }}.{{ $part }} = {{ $inner | toJson }}
{{- end }}
{{- else }}
{{ $field }} = {{ $value | toJson }}
{{- end }}
{{- end }}
{{ end }}
{{- end -}}
{{- end -}}
