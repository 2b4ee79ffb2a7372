{{/*
Deployment, ServiceAccount, PodDisruptionBudget, HorizontalPodAutoscaler, NetworkPolicy and, unless own, Service of one service.
root, component, program, values, keys (secret keys as NAME: key), serviceSecrets (names of services), env (list of name/value), probe (grpc or gateway),
callers and peers (names of services), database (whether it has one)
*/}}
{{- define "pganalytics.service" -}}
{{- $root := .root -}}
{{- $fullname := include "pganalytics.fullname" $root -}}
{{- $ca := include "pganalytics.caVolume" (dict "name" "database-ca" "ca" $root.Values.databaseCa) -}}
{{- /* TLS of people ends in the gateway, or in Envoy before it, TLS of collectors in ingest, with one certificate. */ -}}
{{- $tlsSecret := include "pganalytics.tlsSecret" $root -}}
{{- $envoy := eq $root.Values.gateway.kind "envoy" -}}
{{- $outside := ternary "envoy" "gateway" $envoy -}}
{{- $tls := and (has .component (list $outside "ingest")) $tlsSecret -}}
{{- $secret := include "pganalytics.servicesSecret" $root -}}
{{- $scales := and .values.autoscaling .values.autoscaling.enabled -}}
{{- $env := list
      (dict "name" "ENVIRONMENT" "value" $root.Values.environment)
      (dict "name" "LOG_LEVEL" "value" $root.Values.logLevel)
      (dict "name" "METRICS_LISTEN" "value" (printf "0.0.0.0:%d" (int $root.Values.metrics.port)))
      (dict "name" "SHUTDOWN_TIMEOUT" "value" (sub $root.Values.terminationGracePeriodSeconds 10 | toString)) -}}
{{- if eq .component "auth" -}}
{{- $env = append $env (dict "name" "STATE_DIR" "value" "/var/lib/pganalytics") -}}
{{- end -}}
{{- if eq .probe "grpc" -}}
{{- $env = append $env (dict "name" "GRPC_LISTEN" "value" "0.0.0.0:9090") -}}
{{- end -}}
{{- $env = concat $env (include "pganalytics.secretEnv" . | fromYamlArray) .env -}}
{{- if and .database $ca -}}
{{- $env = append $env (dict "name" "PGSSLROOTCERT" "value" "/etc/pganalytics/database-ca/ca.crt") -}}
{{- end -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "pganalytics.metadata" . | nindent 2 }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "pganalytics.metadata" . | nindent 2 }}
spec:
  {{- if not $scales }}
  replicas: {{ .values.replicas }}
  {{- end }}
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
        {{- include "pganalytics.podLabels" . | nindent 8 }}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: {{ $root.Values.metrics.port | quote }}
        {{- with include "pganalytics.secretChecksum" (dict "root" $root "secret" $secret "keys" (values .keys)) }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "pganalytics.pod" (dict "root" $root "component" .component "account" true) | nindent 6 }}
      terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
      containers:
        - name: {{ .component }}
          image: {{ include "pganalytics.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: ["/usr/bin/{{ .program }}"]
          securityContext:
            {{- include "pganalytics.containerSecurityContext" $root | nindent 12 }}
          env:
            {{- include "pganalytics.env" (dict "env" $env "extra" .values.extraEnv "where" (printf "%s.extraEnv" .component)) | nindent 12 }}
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
        {{- include "pganalytics.secretVolume" (dict "secret" $secret "keys" .keys "serviceSecrets" .serviceSecrets) | nindent 8 }}
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
            secretName: {{ $tlsSecret | quote }}
            defaultMode: 0440
            items:
              - {key: tls.crt, path: tls.crt}
              - {key: tls.key, path: tls.key}
        {{- end }}
      {{- with $root.Values.topologySpread.keys }}
      topologySpreadConstraints:
        {{- range . }}
        - maxSkew: 1
          topologyKey: {{ . | quote }}
          whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
          labelSelector:
            matchLabels:
              {{- include "pganalytics.selector" $ | nindent 14 }}
        {{- end }}
      {{- end }}
{{- if eq .probe "grpc" }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "pganalytics.metadata" . | nindent 2 }}
spec:
  # Headless: gRPC clients see every pod and spread their calls.
  clusterIP: None
  selector:
    {{- include "pganalytics.selector" . | nindent 4 }}
  ports:
    - name: grpc
      port: 9090
      targetPort: grpc
      appProtocol: kubernetes.io/h2c
    {{- if $tls }}
    - name: collectors
      port: 9443
      targetPort: collectors
    {{- end }}
    - name: metrics
      port: {{ $root.Values.metrics.port }}
      targetPort: metrics
{{- end }}
{{- if $scales }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "pganalytics.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ $fullname }}-{{ .component }}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .values.autoscaling.cpu }}
    {{- if .values.autoscaling.streams }}
    - type: Pods
      pods:
        metric:
          name: pga_ingest_streams
        target:
          type: AverageValue
          averageValue: {{ .values.autoscaling.streams | quote }}
    {{- end }}
  behavior:
    scaleDown:
      # Streams move to other pods as their connections end; a pod that comes and goes would move them for nothing.
      stabilizationWindowSeconds: 600
{{- end }}
{{- if and $root.Values.podDisruptionBudget.enabled (gt (int (ternary (default dict .values.autoscaling).minReplicas .values.replicas (default false $scales))) 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "pganalytics.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "pganalytics.selector" . | nindent 6 }}
{{- end }}
{{- if $root.Values.networkPolicy.enabled }}
{{- $policy := $root.Values.networkPolicy }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "pganalytics.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "pganalytics.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if eq .probe "grpc" }}
    - from:
        {{- range ternary (append .callers "envoy") .callers (and $envoy (has "gateway" .callers)) }}
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" .) | nindent 14 }}
        {{- end }}
        {{- if and (eq .component "ingest") $root.Values.gatewayApi.grpc }}
        {{- with $policy.grpcRouteFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- end }}
      ports:
        - {port: 9090, protocol: TCP}
    {{- if $tls }}
    - from:
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" $outside) | nindent 14 }}
      ports:
        - {port: 9443, protocol: TCP}
    {{- end }}
    {{- else if $envoy }}
    - from:
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" "envoy") | nindent 14 }}
      ports:
        - {port: 8080, protocol: TCP}
    {{- else }}
    - ports:
        - {port: 8080, protocol: TCP}
      {{- with $policy.gatewayFrom }}
      from:
        # The pod of `helm test` too.
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" "test") | nindent 14 }}
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- with $policy.metricsFrom }}
    - {{- include "pganalytics.rule" (dict "from" . "ports" (list $root.Values.metrics.port)) | nindent 6 }}
    {{- end }}
  egress:
    {{- $more := dict }}
    {{- if eq .component "ruler" }}
    {{- $more = dict "to" $policy.receiverTo "ports" $policy.receiverPorts }}
    {{- end }}
    {{- include "pganalytics.egress" (dict "root" $root "database" .database "more" $more) | nindent 4 }}
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
