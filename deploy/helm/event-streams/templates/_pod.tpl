{{- /* The settings of every process, as YAML. */ -}}
{{- define "event-streams.settings" -}}
{{- $set := dict
      "STREAMS_APPLICATION" .Values.application
      "STREAMS_TOPIC_PREFIX" .Values.topicPrefix
      "STREAMS_RETRY_DELAYS" (join "," .Values.retryDelays)
      "STREAMS_PARTITIONS" (include "event-streams.text" .Values.partitions)
      "STREAMS_KAFKA_BOOTSTRAP_SERVERS" .Values.kafka.bootstrapServers
      "STREAMS_KAFKA_SECURITY_PROTOCOL" (include "event-streams.securityProtocol" .)
      "STREAMS_GROUP_PROTOCOL" .Values.kafka.groupProtocol
      "STREAMS_STORAGE_URL" .Values.storage.url
      "STREAMS_WEB_BIND" .Values.web.bind
      "STREAMS_WEB_PORT" (include "event-streams.text" .Values.web.port)
      "STREAMS_LOG_FORMAT" "json"
-}}
{{- if include "event-streams.overrides" . -}}
{{- $_ := set $set "STREAMS_OVERRIDES" "/etc/streams/overrides/overrides.toml" -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- $_ := set $set $name (include "event-streams.text" $value) -}}
{{- end -}}
{{- toYaml $set -}}
{{- end -}}

{{- /* The name of the Secret with the settings. Arguments: root, hook. */ -}}
{{- define "event-streams.secretName" -}}
{{- if .root.Values.secrets.existingSecret -}}
{{ .root.Values.secrets.existingSecret }}
{{- else -}}
{{ include "event-streams.fullname" .root }}-{{ if .hook }}hooks{{ else }}settings{{ end }}
{{- end -}}
{{- end -}}

{{- /*
The variables of a container: first those of the component, then the Secrets', then the user's.
Arguments: root, component; optionally own (name to value), hook, and secretKeys (in place of those for all).
*/ -}}
{{- define "event-streams.env" -}}
{{- $kafka := include "event-streams.kafkaSecrets" . | fromJson -}}
- {name: TMPDIR, value: /tmp}
- {name: HOME, value: /tmp}
{{- range $name, $value := .own }}
- name: {{ $name }}
  value: {{ include "event-streams.text" $value | quote }}
{{- end }}
{{- $secret := include "event-streams.secretName" . }}
{{- $keys := merge (dict) (default (dict) .secretKeys) .root.Values.secrets.keys }}
{{- range $name, $key := $keys }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret | quote }}, key: {{ $key | quote }}}
{{- end }}
{{- with $kafka.sasl }}
- name: STREAMS_KAFKA_SASL_MECHANISM
  value: {{ $kafka.mechanism | quote }}
{{- if not (hasKey $keys "STREAMS_KAFKA_SASL_USERNAME") }}
- name: STREAMS_KAFKA_SASL_USERNAME
  {{- if .username }}
  value: {{ .username | quote }}
  {{- else }}
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .usernameKey | quote }}}
  {{- end }}
{{- end }}
{{- if not (hasKey $keys "STREAMS_KAFKA_SASL_PASSWORD") }}
- name: STREAMS_KAFKA_SASL_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .passwordKey | quote }}}
{{- end }}
{{- end }}
{{- if $kafka.ca }}
- {name: STREAMS_KAFKA_SSL_CA_LOCATION, value: /etc/streams/kafka-ca/ca.crt}
{{- end }}
{{- if $kafka.client }}
- {name: STREAMS_KAFKA_SSL_CERTIFICATE_LOCATION, value: /etc/streams/kafka-client/tls.crt}
- {name: STREAMS_KAFKA_SSL_KEY_LOCATION, value: /etc/streams/kafka-client/tls.key}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What every container has. Arguments as of event-streams.env. */ -}}
{{- define "event-streams.container" -}}
image: {{ include "event-streams.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
# Faust makes a folder of its own in the working directory.
workingDir: /tmp
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
envFrom:
  - configMapRef:
      name: {{ include "event-streams.fullname" .root }}-{{ if .hook }}hooks{{ else }}settings{{ end }}
  {{- with .root.Values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- include "event-streams.env" . | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- $kafka := include "event-streams.kafkaSecrets" . | fromJson }}
  {{- if $kafka.ca }}
  - {name: kafka-ca, mountPath: /etc/streams/kafka-ca, readOnly: true}
  {{- end }}
  {{- if $kafka.client }}
  - {name: kafka-client, mountPath: /etc/streams/kafka-client, readOnly: true}
  {{- end }}
  {{- if include "event-streams.overrides" .root }}
  - {name: overrides, mountPath: /etc/streams/overrides, readOnly: true}
  {{- end }}
  {{- if .root.Values.storage.existingClaim }}
  - {name: storage, mountPath: {{ .root.Values.storage.mountPath | quote }}}
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* What every pod has beside its containers. Arguments as of event-streams.env; optionally pool: its values. */ -}}
{{- define "event-streams.podSpec" -}}
serviceAccountName: {{ include (ternary "event-streams.hookServiceAccountName" "event-streams.serviceAccountName" (default false .hook)) .root | quote }}
automountServiceAccountToken: false
# Kubernetes would add variables for each Service, and their names could be those of settings.
enableServiceLinks: false
{{- $own := default (dict) .pool }}
{{- with merge (dict) (default (dict) $own.nodeSelector) .root.Values.nodeSelector }}
nodeSelector: {{ . | toJson }}
{{- end }}
{{- range $field := list "tolerations" "affinity" "priorityClassName" }}
{{- with default (index $.root.Values $field) (index $own $field) }}
{{ $field }}: {{ . | toJson }}
{{- end }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: {{ .root.Values.temporary.sizeLimit | quote }}}
  {{- $kafka := include "event-streams.kafkaSecrets" . | fromJson }}
  {{- with $kafka.ca }}
  - name: kafka-ca
    secret:
      secretName: {{ .name | quote }}
      defaultMode: 0440
      items: [{key: {{ .key | quote }}, path: ca.crt}]
  {{- end }}
  {{- with $kafka.client }}
  - name: kafka-client
    secret:
      secretName: {{ .name | quote }}
      defaultMode: 0440
      items:
        - {key: {{ .certificateKey | quote }}, path: tls.crt}
        - {key: {{ .privateKeyKey | quote }}, path: tls.key}
  {{- end }}
  {{- if include "event-streams.overrides" .root }}
  - name: overrides
    configMap:
      name: {{ include "event-streams.fullname" .root }}-{{ if .hook }}hooks-{{ end }}overrides
      items: [{key: overrides.toml, path: overrides.toml}]
  {{- end }}
  {{- with .root.Values.storage.existingClaim }}
  - name: storage
    persistentVolumeClaim: {claimName: {{ . | quote }}}
  {{- end }}
  {{- with .root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "event-streams.hookServiceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ include "event-streams.fullname" . }}-hooks
{{- else -}}
{{ include "event-streams.serviceAccountName" . }}
{{- end -}}
{{- end -}}

{{- /*
The metadata of a pod in a template. The checksum makes new pods for each change of the settings.
Arguments as of event-streams.podSpec; labels.
*/ -}}
{{- define "event-streams.podMetadata" -}}
{{- $own := default (dict) .pool -}}
labels:
  {{- include "event-streams.labels" . | nindent 2 }}
  {{- with merge (dict) (default (dict) .labels) (default (dict) $own.podLabels) .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- include "event-streams.checksum" .root | nindent 2 }}
  {{- with merge (dict) (default (dict) $own.podAnnotations) .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "event-streams.checksum" -}}
checksum/settings: {{ printf "%s%s" (include "event-streams.settings" .) (include "event-streams.overrides" .) | sha256sum }}
{{- end -}}
