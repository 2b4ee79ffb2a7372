{{- define "pganalytics.name" -}}
{{- .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "pganalytics.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pganalytics.selector" -}}
app.kubernetes.io/name: {{ include "pganalytics.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "pganalytics.labels" -}}
{{ include "pganalytics.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: pganalytics
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "pganalytics.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "pganalytics.address" -}}
{{ include "pganalytics.fullname" .root }}-{{ .component }}:9090
{{- end -}}

{{- define "pganalytics.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pganalytics.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}

{{/* Environment variables NAME_FILE for the keys of the Secret that a component reads. */}}
{{- define "pganalytics.secretEnv" -}}
{{- range $name, $key := .keys }}
- name: {{ $name }}_FILE
  value: /etc/pganalytics/secrets/{{ $key }}
{{- end }}
{{- if .serviceSecrets }}
- name: SERVICE_SECRETS_DIR
  value: /etc/pganalytics/secrets/services
{{- end }}
{{- end -}}

{{/* The keys of existingSecret, or of the Secret named by secret, as files. */}}
{{- define "pganalytics.secretVolume" -}}
- name: secrets
  secret:
    secretName: {{ .secret | default .root.Values.existingSecret }}
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
    secretName: {{ .ca.secret }}
    defaultMode: 0440
    items:
      - {key: {{ .ca.key }}, path: ca.crt}
{{- else if .ca.configMap -}}
- name: {{ .name }}
  configMap:
    name: {{ .ca.configMap }}
    items:
      - {key: {{ .ca.key }}, path: ca.crt}
{{- end -}}
{{- end -}}

{{/*
Deployment, ServiceAccount, PodDisruptionBudget and, unless own, Service of one service.
root, component, program, values, keys (secret keys as NAME: key), serviceSecrets (names of services), env (list of name/value), probe (grpc or gateway)
*/}}
{{- define "pganalytics.service" -}}
{{- $root := .root -}}
{{- $ca := include "pganalytics.caVolume" (dict "name" "database-ca" "ca" $root.Values.databaseCa) -}}
{{- /* TLS of people ends in the gateway, TLS of collectors in ingest, with one certificate. */ -}}
{{- $tls := and (has .component (list "gateway" "ingest")) $root.Values.gateway.tls.existingSecret -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "pganalytics.fullname" $root }}-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "pganalytics.labels" . | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "pganalytics.fullname" $root }}-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "pganalytics.labels" . | nindent 4 }}
spec:
  replicas: {{ .values.replicas }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "pganalytics.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "pganalytics.labels" . | nindent 8 }}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: {{ $root.Values.metrics.port | quote }}
    spec:
      serviceAccountName: {{ include "pganalytics.fullname" $root }}-{{ .component }}
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
      securityContext:
        {{- include "pganalytics.podSecurityContext" $root | nindent 8 }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "pganalytics.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: ["/usr/bin/{{ .program }}"]
          securityContext:
            {{- include "pganalytics.containerSecurityContext" $root | nindent 12 }}
          env:
            - name: ENVIRONMENT
              value: {{ $root.Values.environment }}
            - name: LOG_LEVEL
              value: {{ $root.Values.logLevel }}
            - name: METRICS_LISTEN
              value: "0.0.0.0:{{ $root.Values.metrics.port }}"
            - name: SHUTDOWN_TIMEOUT
              value: {{ sub $root.Values.terminationGracePeriodSeconds 10 | quote }}
            {{- if eq .component "auth" }}
            - name: STATE_DIR
              value: /var/lib/pganalytics
            {{- end }}
            {{- if eq .probe "grpc" }}
            - name: GRPC_LISTEN
              value: "0.0.0.0:9090"
            {{- end }}
            {{- include "pganalytics.secretEnv" . | nindent 12 }}
            {{- range .env }}
            - name: {{ .name }}
              value: {{ .value | quote }}
            {{- end }}
            {{- if and .database $ca }}
            - name: PGSSLROOTCERT
              value: /etc/pganalytics/database-ca/ca.crt
            {{- end }}
            {{- with .values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            {{- if eq .probe "grpc" }}
            - name: grpc
              containerPort: 9090
            {{- if $tls }}
            - name: collectors
              containerPort: 9443
            {{- end }}
            {{- else }}
            - name: http
              containerPort: 8080
            {{- end }}
            - name: metrics
              containerPort: {{ $root.Values.metrics.port }}
          {{- if eq .probe "grpc" }}
          startupProbe:
            grpc: {port: 9090}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            grpc: {port: 9090}
            periodSeconds: 5
            timeoutSeconds: 3
          livenessProbe:
            grpc: {port: 9090}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          {{- else }}
          startupProbe:
            tcpSocket: {port: http}
            periodSeconds: 2
            failureThreshold: 60
          # The port opens once the gateway serves. A request would count against the rate limit of the node's address.
          readinessProbe:
            tcpSocket: {port: http}
            periodSeconds: 5
            timeoutSeconds: 3
          livenessProbe:
            tcpSocket: {port: http}
            periodSeconds: 10
            failureThreshold: 6
          {{- end }}
          lifecycle:
            preStop:
              exec:
                # Endpoints are removed in parallel with this; new calls stop arriving before the drain begins.
                command: ["/bin/sleep", "5"]
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            - name: secrets
              mountPath: /etc/pganalytics/secrets
              readOnly: true
            {{- if eq .component "auth" }}
            - name: state
              mountPath: /var/lib/pganalytics
            {{- end }}
            {{- if and .database $ca }}
            - name: database-ca
              mountPath: /etc/pganalytics/database-ca
              readOnly: true
            {{- end }}
            {{- if $tls }}
            - name: tls
              mountPath: /etc/pganalytics/tls
              readOnly: true
            {{- end }}
      volumes:
        {{- include "pganalytics.secretVolume" . | nindent 8 }}
        {{- if eq .component "auth" }}
        - name: state
          emptyDir:
            medium: Memory
            sizeLimit: 16Mi
        {{- end }}
        {{- if and .database $ca }}
        {{- $ca | nindent 8 }}
        {{- end }}
        {{- if $tls }}
        - name: tls
          secret:
            secretName: {{ $root.Values.gateway.tls.existingSecret }}
            defaultMode: 0440
        {{- end }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "pganalytics.selector" . | nindent 14 }}
{{- if eq .probe "grpc" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "pganalytics.fullname" $root }}-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "pganalytics.labels" . | nindent 4 }}
spec:
  # Headless: gRPC clients see every pod and spread their calls.
  clusterIP: None
  selector:
    {{- include "pganalytics.selector" . | nindent 4 }}
  ports:
    - name: grpc
      port: 9090
      targetPort: grpc
    {{- if $tls }}
    - name: collectors
      port: 9443
      targetPort: collectors
    {{- end }}
    - name: metrics
      port: {{ $root.Values.metrics.port }}
      targetPort: metrics
{{- end }}
{{- if and $root.Values.podDisruptionBudget.enabled (gt (int .values.replicas) 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "pganalytics.fullname" $root }}-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "pganalytics.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "pganalytics.selector" . | nindent 6 }}
{{- end }}
{{- if $root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "pganalytics.fullname" $root }}-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "pganalytics.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "pganalytics.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if eq .probe "grpc" }}
    - from:
        {{- range .callers }}
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" .) | nindent 14 }}
        {{- end }}
      ports:
        - {port: 9090, protocol: TCP}
    {{- if $tls }}
    - from:
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" "gateway") | nindent 14 }}
      ports:
        - {port: 9443, protocol: TCP}
    {{- end }}
    {{- else }}
    - ports:
        - {port: 8080, protocol: TCP}
    {{- end }}
    - ports:
        - {port: {{ $root.Values.metrics.port }}, protocol: TCP}
  egress:
    {{- $ports := ternary $root.Values.networkPolicy.databasePorts (list) .database }}
    {{- if eq .component "ruler" }}
    {{- $ports = concat $ports $root.Values.networkPolicy.receiverPorts | uniq }}
    {{- end }}
    {{- include "pganalytics.egress" (dict "ports" $ports) | nindent 4 }}
    {{- with .peers }}
    - to:
        {{- range . }}
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" .) | nindent 14 }}
        {{- end }}
      ports:
        - {port: 9090, protocol: TCP}
        {{- if and $tls (eq $.component "gateway") }}
        - {port: 9443, protocol: TCP}
        {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Names of hosts, and these ports anywhere: databases are mostly outside the cluster. */}}
{{- define "pganalytics.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- with .ports }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "pganalytics.peerEnv" -}}
{{- $root := .root -}}
{{- $list := list -}}
{{- range .peers -}}
{{- $list = append $list (dict "name" (printf "%s_SERVICE_ADDR" (upper .)) "value" (include "pganalytics.address" (dict "root" $root "component" .))) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end -}}
