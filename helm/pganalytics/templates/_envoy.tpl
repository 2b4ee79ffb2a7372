{{/*
Envoy before the services: ServiceAccount, Deployment, PodDisruptionBudget, NetworkPolicy, and the Service of the built-in gateway behind it.
root, env (settings of the port outside), keys (secret keys as NAME: key), peers (names of services). The image of the suite writes
Envoy's files from the gateway's own settings.
*/}}
{{- define "pganalytics.envoy" -}}
{{- $root := .root -}}
{{- $values := $root.Values.gateway -}}
{{- $here := dict "root" $root "component" "envoy" -}}
{{- $fullname := include "pganalytics.fullname" $root -}}
{{- $tlsSecret := include "pganalytics.tlsSecret" $root -}}
{{- $secret := include "pganalytics.servicesSecret" $root -}}
{{- $port := int $root.Values.metrics.port -}}
{{- $env := concat .env (include "pganalytics.secretEnv" . | fromYamlArray) (list
      (dict "name" "ENVIRONMENT" "value" $root.Values.environment)
      (dict "name" "METRICS_LISTEN" "value" (printf "0.0.0.0:%d" $port))
      (dict "name" "GATEWAY_SERVICE_ADDR" "value" (printf "%s-console:8080" $fullname))) -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "pganalytics.metadata" $here | nindent 2 }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "pganalytics.metadata" $here | nindent 2 }}
spec:
  replicas: {{ $values.envoy.replicas }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "pganalytics.selector" $here | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "pganalytics.podLabels" $here | nindent 8 }}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: {{ $port | quote }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "pganalytics.pod" (dict "root" $root "component" "envoy" "account" true) | nindent 6 }}
      terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
      initContainers:
        - name: files
          image: {{ include "pganalytics.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: ["/usr/bin/pga-gateway", "envoy", "/etc/envoy/pganalytics"]
          securityContext:
            {{- include "pganalytics.containerSecurityContext" $root | nindent 12 }}
          env:
            {{- include "pganalytics.env" (dict "env" $env "extra" $values.extraEnv "where" "gateway.extraEnv") | nindent 12 }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - name: secrets
              mountPath: /etc/pganalytics/secrets
              readOnly: true
            - name: files
              mountPath: /etc/envoy/pganalytics
      containers:
        - name: envoy
          image: {{ $values.envoy.image | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: ["/usr/local/bin/envoy", "-c", "/etc/envoy/pganalytics/envoy.yaml", "--log-level", "warn"]
          securityContext:
            {{- include "pganalytics.containerSecurityContext" $root | nindent 12 }}
          ports:
            - name: http
              containerPort: 8080
            - name: metrics
              containerPort: {{ $port }}
          startupProbe:
            httpGet: {path: /ready, port: metrics}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            httpGet: {path: /ready, port: metrics}
            periodSeconds: 5
            timeoutSeconds: 3
          livenessProbe:
            httpGet: {path: /ready, port: metrics}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          lifecycle:
            preStop:
              exec:
                # Endpoints are removed in parallel with this; new requests stop arriving, and those under way end.
                command: ["/bin/sleep", {{ sub $root.Values.terminationGracePeriodSeconds 10 | toString | quote }}]
          resources:
            {{- toYaml $values.envoy.resources | nindent 12 }}
          volumeMounts:
            - name: files
              mountPath: /etc/envoy/pganalytics
            {{- if $tlsSecret }}
            - name: tls
              mountPath: /etc/pganalytics/tls
              readOnly: true
            {{- end }}
      volumes:
        {{- include "pganalytics.secretVolume" (dict "secret" $secret "keys" .keys "serviceSecrets" list) | nindent 8 }}
        - name: files
          emptyDir:
            # A secret of the suite is among them.
            medium: Memory
            sizeLimit: 16Mi
        {{- if $tlsSecret }}
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
              {{- include "pganalytics.selector" $here | nindent 14 }}
        {{- end }}
      {{- end }}
---
# The built-in gateway behind Envoy.
apiVersion: v1
kind: Service
metadata:
  {{- include "pganalytics.metadata" (dict "root" $root "component" "gateway" "suffix" "console") | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "pganalytics.selector" (dict "root" $root "component" "gateway") | nindent 4 }}
  ports:
    - name: console
      port: 8080
      targetPort: http
---
# Apart from the port outside: figures stay inside the cluster.
apiVersion: v1
kind: Service
metadata:
  {{- include "pganalytics.metadata" (dict "root" $root "component" "envoy" "suffix" "envoy-metrics") | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "pganalytics.selector" $here | nindent 4 }}
  ports:
    - name: metrics
      port: {{ $port }}
      targetPort: metrics
{{- if and $root.Values.podDisruptionBudget.enabled (gt (int $values.envoy.replicas) 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "pganalytics.metadata" $here | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "pganalytics.selector" $here | nindent 6 }}
{{- end }}
{{- if $root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "pganalytics.metadata" $here | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "pganalytics.selector" $here | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - {port: 8080, protocol: TCP}
      {{- with $root.Values.networkPolicy.gatewayFrom }}
      from:
        # The pod of `helm test` too.
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" "test") | nindent 14 }}
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with $root.Values.networkPolicy.metricsFrom }}
    - {{- include "pganalytics.rule" (dict "from" . "ports" (list $port)) | nindent 6 }}
    {{- end }}
  egress:
    {{- include "pganalytics.egress" (dict "root" $root "database" false "more" dict) | nindent 4 }}
    - to:
        {{- range .peers }}
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" .) | nindent 14 }}
        {{- end }}
      ports:
        - {port: 9090, protocol: TCP}
        {{- if $tlsSecret }}
        - {port: 9443, protocol: TCP}
        {{- end }}
    - to:
        - podSelector:
            matchLabels:
              {{- include "pganalytics.selector" (dict "root" $root "component" "gateway") | nindent 14 }}
      ports:
        - {port: 8080, protocol: TCP}
{{- end }}
{{- end -}}
