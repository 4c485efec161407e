{{- define "event-streams.securityProtocol" -}}
{{- $users := .Values.strimzi.users -}}
{{- $tls := or .Values.kafka.tls.enabled (and $users.enabled (eq $users.authentication "tls")) -}}
{{- $sasl := or .Values.kafka.sasl.mechanism (and $users.enabled (eq $users.authentication "scram-sha-512")) -}}
{{- if $sasl }}sasl_{{ end }}{{ if $tls }}ssl{{ else }}plaintext{{ end }}
{{- end -}}

{{- /*
The Secrets for the connection of a component to Kafka, as JSON: `mechanism`, `sasl` (name, username, usernameKey,
passwordKey), `ca` and `client` (name and keys). Arguments: root, component; without a component, nothing.
*/ -}}
{{- define "event-streams.kafkaSecrets" -}}
{{- $values := .root.Values -}}
{{- $found := dict -}}
{{- if .component -}}
{{- $user := printf "%s-%s" (include "event-streams.fullname" .root) .component -}}
{{- if $values.kafka.sasl.mechanism -}}
{{- $_ := set $found "mechanism" $values.kafka.sasl.mechanism -}}
{{- $_ := set $found "sasl" (dict "name" $values.kafka.sasl.existingSecret "usernameKey" $values.kafka.sasl.usernameKey "passwordKey" $values.kafka.sasl.passwordKey) -}}
{{- end -}}
{{- with $values.kafka.tls.caSecret -}}
{{- $_ := set $found "ca" (dict "name" . "key" $values.kafka.tls.caKey) -}}
{{- end -}}
{{- with $values.kafka.tls.clientSecret -}}
{{- $_ := set $found "client" (dict "name" . "certificateKey" $values.kafka.tls.certificateKey "privateKeyKey" $values.kafka.tls.privateKeyKey) -}}
{{- end -}}
{{- if $values.strimzi.users.enabled -}}
{{- if eq $values.strimzi.users.authentication "tls" -}}
{{- $_ := set $found "client" (dict "name" $user "certificateKey" "user.crt" "privateKeyKey" "user.key") -}}
{{- else -}}
{{- $_ := set $found "mechanism" "SCRAM-SHA-512" -}}
{{- $_ := set $found "sasl" (dict "name" $user "username" $user "passwordKey" "password") -}}
{{- end -}}
{{- if and (eq (include "event-streams.securityProtocol" .root | trimPrefix "sasl_") "ssl") (not $values.kafka.tls.caSecret) -}}
{{- $_ := set $found "ca" (dict "name" (printf "%s-cluster-ca-cert" $values.strimzi.cluster) "key" "ca.crt") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}
