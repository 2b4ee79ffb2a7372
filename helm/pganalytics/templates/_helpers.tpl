{{- define "pganalytics.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
Beginning of all names: a DNS label that starts with a letter. The longest suffix, "-gateway-metrics", and the hash that a
StatefulSet's label adds leave 40 of 63 characters; a name that was cut ends in a hash of the whole.
*/}}
{{- define "pganalytics.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- end -}}
{{- $name = $name | replace "." "-" -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- $name = printf "r%s" $name -}}
{{- end -}}
{{- if gt (len $name) 40 -}}
{{- $name = printf "%s-%s" ($name | trunc 33 | trimSuffix "-") ($name | sha256sum | trunc 6) -}}
{{- end -}}
{{- $name | trimSuffix "-" -}}
{{- end -}}

{{- define "pganalytics.selector" -}}
app.kubernetes.io/name: {{ include "pganalytics.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "pganalytics.labels" -}}
{{ include "pganalytics.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: pganalytics
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: root, component, suffix of the name (the component unless given). */}}
{{- define "pganalytics.metadata" -}}
{{- $suffix := hasKey . "suffix" | ternary .suffix .component -}}
name: {{ printf "%s-%s" (include "pganalytics.fullname" .root) $suffix | trimSuffix "-" }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "pganalytics.labels" . | nindent 2 }}
{{- end -}}

{{- define "pganalytics.podLabels" -}}
{{ include "pganalytics.labels" . }}
{{- with .root.Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pganalytics.image" -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest | quote }}
{{- else -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end -}}
{{- end -}}

{{- define "pganalytics.address" -}}
{{ include "pganalytics.fullname" .root }}-{{ .component }}:9090
{{- end -}}

{{/* Secret of the services, of the databases' owner, of backups, of the certificate; empty where there is none. */}}
{{- define "pganalytics.servicesSecret" -}}
{{- ternary (include "pganalytics.fullname" .) .Values.existingSecret .Values.secrets.create -}}
{{- end -}}
{{- define "pganalytics.ownerSecret" -}}
{{- if .Values.secrets.create -}}
{{ include "pganalytics.fullname" . }}-owner
{{- else -}}
{{ .Values.migration.existingSecret | default .Values.existingSecret }}
{{- end -}}
{{- end -}}
{{- define "pganalytics.backupSecret" -}}
{{- ternary (printf "%s-backup" (include "pganalytics.fullname" .)) .Values.backup.existingSecret .Values.secrets.create -}}
{{- end -}}
{{- define "pganalytics.tlsSecret" -}}
{{- $tls := .Values.gateway.tls -}}
{{- if $tls.existingSecret -}}
{{ $tls.existingSecret }}
{{- else if or $tls.certManager.enabled $tls.selfSigned.enabled -}}
{{ include "pganalytics.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/* Names in a certificate that is made: those of the values, then the gateway's Service. */}}
{{- define "pganalytics.tlsNames" -}}
{{- $service := printf "%s-gateway" (include "pganalytics.fullname" .) -}}
{{- concat .Values.gateway.tls.names (list $service (printf "%s.%s" $service .Release.Namespace)
      (printf "%s.%s.svc" $service .Release.Namespace)) | uniq | toYaml -}}
{{- end -}}

{{/*
Makes pods start again with the next `helm upgrade` after these keys of a Secret have changed: root, secret, keys.
Nothing where no cluster can be asked. Secrets of services and certificates are read again by the programs themselves.
*/}}
{{- define "pganalytics.secretChecksum" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if $found -}}
{{- $data := dict -}}
{{- range .keys -}}
{{- if not (hasPrefix "service-secret-" .) -}}
{{- $_ := set $data . (get ($found.data | default dict) .) -}}
{{- end -}}
{{- end -}}
checksum/{{ .name | default "secret" }}: {{ $data | toJson | sha256sum }}
{{- end -}}
{{- end -}}

{{- define "pganalytics.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pganalytics.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}

{{/* What every pod's specification has: root, account (whether it has a ServiceAccount), component. */}}
{{- define "pganalytics.pod" -}}
{{- if .account }}
serviceAccountName: {{ include "pganalytics.fullname" .root }}-{{ .component }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "pganalytics.podSecurityContext" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
Environment variables: env (list of name/value), extra (list of the values) and where that stands. A name that is there twice is
refused: which of the two counts depends on the version of Kubernetes.
*/}}
{{- define "pganalytics.env" -}}
{{- $names := list -}}
{{- range .env -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range .extra -}}
{{- if has .name $names -}}
{{- fail (printf "\n%s: %s is there already. Remove it; a value of the chart or one entry sets it." $.where .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- toYaml (concat .env .extra) -}}
{{- end -}}

{{/* List of variables NAME_FILE for the keys of the Secret that a component reads. */}}
{{- define "pganalytics.secretEnv" -}}
{{- $list := list -}}
{{- range $name, $key := .keys -}}
{{- $list = append $list (dict "name" (printf "%s_FILE" $name) "value" (printf "/etc/pganalytics/secrets/%s" $key)) -}}
{{- end -}}
{{- if .serviceSecrets -}}
{{- $list = append $list (dict "name" "SERVICE_SECRETS_DIR" "value" "/etc/pganalytics/secrets/services") -}}
{{- end -}}
{{- toYaml $list -}}
{{- end -}}

{{/* Keys of a Secret as files: secret, keys, serviceSecrets. */}}
{{- define "pganalytics.secretVolume" -}}
- name: secrets
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
    items:
    {{- range $name, $key := .keys }}
      - key: {{ $key }}
        path: {{ $key }}
    {{- end }}
    {{- range .serviceSecrets }}
      - key: service-secret-{{ . }}
        path: services/{{ . }}
    {{- end }}
{{- end -}}

{{/* Volume `name` with file ca.crt from the Secret or ConfigMap of `ca`; nothing when neither is named. */}}
{{- define "pganalytics.caVolume" -}}
{{- if .ca.secret -}}
- name: {{ .name }}
  secret:
    secretName: {{ .ca.secret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .ca.key | quote }}, path: ca.crt}
{{- else if .ca.configMap -}}
- name: {{ .name }}
  configMap:
    name: {{ .ca.configMap | quote }}
    items:
      - {key: {{ .ca.key | quote }}, path: ca.crt}
{{- end -}}
{{- end -}}

{{/* Rules of a NetworkPolicy for names of hosts, and for databases: root, database. */}}
{{- define "pganalytics.egress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $to := $policy.databaseTo -}}
{{- if .root.Values.cloudNativePg.enabled -}}
{{- $to = list (dict "podSelector" (dict "matchLabels" (dict "cnpg.io/cluster" (printf "%s-db" (include "pganalytics.fullname" .root))))) -}}
{{- end -}}
{{- $rules := list -}}
{{- if $policy.dnsTo -}}
{{- $rules = append $rules (dict "to" $policy.dnsTo "ports" (list (dict "port" 53 "protocol" "UDP") (dict "port" 53 "protocol" "TCP"))) -}}
{{- end -}}
{{- if and .database $to -}}
{{- $rules = append $rules (include "pganalytics.rule" (dict "to" $to "ports" $policy.databasePorts) | fromYaml) -}}
{{- end -}}
{{- with .more -}}
{{- if .to -}}
{{- $rules = append $rules (include "pganalytics.rule" . | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- if $rules -}}
{{- toYaml $rules -}}
{{- end -}}
{{- end -}}

{{/* One rule: TCP ports to or from peers. Without peers it would mean everybody; that is never made here. */}}
{{- define "pganalytics.rule" -}}
{{- $ports := list -}}
{{- range .ports -}}
{{- $ports = append $ports (dict "port" (int .) "protocol" "TCP") -}}
{{- end -}}
{{- if .from -}}
{{- toYaml (dict "from" .from "ports" $ports) -}}
{{- else -}}
{{- toYaml (dict "to" .to "ports" $ports) -}}
{{- end -}}
{{- end -}}

{{- define "pganalytics.peerEnv" -}}
{{- $root := .root -}}
{{- $list := list -}}
{{- range .peers -}}
{{- $list = append $list (dict "name" (printf "%s_SERVICE_ADDR" (upper .)) "value" (include "pganalytics.address" (dict "root" $root "component" .))) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end -}}
