{{/*
What values.schema.json cannot say, with what to do instead: forms of texts, values that exclude or need each other, ports that
clash. All faults are shown at once.
*/}}
{{- define "pganalytics.validate" -}}
{{- $v := .Values -}}
{{- $faults := list -}}
{{- $forms := dict
      "name" (list "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$" "is no name of an object. Use small letters, digits, '-' and '.', 253 at most")
      "label" (list "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" "is no name. Use small letters, digits and '-', 63 at most")
      "key" (list "^[-._a-zA-Z0-9]+$" "is no key of a Secret or ConfigMap. Use letters, digits, '-', '_' and '.'")
      "size" (list "^[1-9][0-9]{0,6}(Mi|Gi|Ti)$" "is no size. Write a whole number above 0 with Mi, Gi or Ti, for example 10Gi")
      "repository" (list "^[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$" "is no image name. Write registry/path in small letters, without tag and blanks, for example registry.example.com/pganalytics")
      "tag" (list "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$" "is no tag. Use letters, digits, '.', '_' and '-', 128 at most")
      "digest" (list "^sha256:[0-9a-f]{64}$" "is no digest. Write sha256: and 64 hexadecimal digits, as the registry shows it")
      "duration" (list "^[1-9][0-9]*(h|m|s)$" "is no duration. Write a whole number above 0 with s, m or h")
      "interval" (list "^[1-9][0-9]*(s|m)$" "is no interval. Write a whole number above 0 with s or m, for example 30s")
      "cron" (list "^(@(hourly|daily|weekly|monthly)|[-0-9*/,]+( [-0-9A-Za-z*/,]+){4})$" "is no schedule. Write five fields of cron in UTC, for example '30 2 * * *', or @daily")
      "host" (list "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" "is no host name. Write a DNS name in small letters without scheme and port")
      "names" (list "^(\\*\\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" "is no host name. Write a DNS name in small letters without scheme and port")
      "origin" (list "^https?://[^/*, ]+$" "is no origin. Write scheme, host and port exactly, for example https://grafana.example.com; '*' is not taken")
      "network" (list "^([0-9]{1,3}(\\.[0-9]{1,3}){3}(/([0-9]|[12][0-9]|3[0-2]))?|[0-9a-fA-F:]*:[0-9a-fA-F:.]*(/[0-9]{1,3})?)$" "is no address. Write an IP address or a CIDR, for example 10.0.0.0/8")
      "cidr" (list "^([0-9]{1,3}(\\.[0-9]{1,3}){3}/([0-9]|[12][0-9]|3[0-2])|[0-9a-fA-F:]*:[0-9a-fA-F:.]*/[0-9]{1,3})$" "is no CIDR. Write address and length, for example 10.0.0.0/8")
      "labelKey" (list "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" "is no key. Write prefix/name or a name, 63 characters at most")
      "labelValue" (list "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$" "is no value of a label. Use letters, digits, '-', '_' and '.', 63 at most")
      "postgres" (list "^[^ \t\n]+$" "holds a blank or nothing. Write it without")
      "url" (list "^postgres(ql)?://[^ \t\n]+/[^ \t\n]+$" "is no URL of a database. Write postgresql://LOGIN:PASSWORD@HOST/DATABASE?sslmode=require")
      "collectorId" (list "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$" "is no collector's id. Use letters, digits, '_', '.' and '-', 63 at most")
      "variable" (list "^[A-Z][A-Z0-9_]*$" "is no name of a setting. Use capital letters, digits and '_', as --help of the program shows")
      "quantity" (list "^[0-9]+(\\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$" "is no quantity. Write for example 100m of a processor or 256Mi of memory") -}}
{{- $texts := list -}}
{{- /* form, path, value; an empty text means "not set" and is checked apart where it must be set. */ -}}
{{- $texts = concat $texts (list
      (list "label" "nameOverride" $v.nameOverride) (list "label" "fullnameOverride" $v.fullnameOverride)
      (list "repository" "image.repository" $v.image.repository) (list "tag" "image.tag" $v.image.tag)
      (list "digest" "image.digest" $v.image.digest)
      (list "name" "existingSecret" $v.existingSecret)
      (list "url" "secrets.databaseUrl" $v.secrets.databaseUrl) (list "url" "secrets.timescaleUrl" $v.secrets.timescaleUrl)
      (list "url" "secrets.ownerDatabaseUrl" $v.secrets.ownerDatabaseUrl) (list "url" "secrets.ownerTimescaleUrl" $v.secrets.ownerTimescaleUrl)
      (list "size" "cloudNativePg.storage.size" $v.cloudNativePg.storage.size)
      (list "name" "cloudNativePg.storage.storageClass" $v.cloudNativePg.storage.storageClass)
      (list "postgres" "cloudNativePg.image" $v.cloudNativePg.image)
      (list "name" "databaseCa.secret" $v.databaseCa.secret) (list "name" "databaseCa.configMap" $v.databaseCa.configMap)
      (list "key" "databaseCa.key" $v.databaseCa.key)
      (list "name" "migration.existingSecret" $v.migration.existingSecret)
      (list "name" "gateway.tls.existingSecret" $v.gateway.tls.existingSecret)
      (list "name" "gateway.tls.certManager.issuer.name" $v.gateway.tls.certManager.issuer.name)
      (list "duration" "gateway.tls.certManager.duration" $v.gateway.tls.certManager.duration)
      (list "duration" "gateway.tls.certManager.renewBefore" $v.gateway.tls.certManager.renewBefore)
      (list "label" "ingress.className" $v.ingress.className) (list "host" "ingress.host" $v.ingress.host)
      (list "name" "ingress.tlsSecret" $v.ingress.tlsSecret)
      (list "collectorId" "collector.id" $v.collector.id)
      (list "postgres" "collector.postgres.host" $v.collector.postgres.host)
      (list "name" "collector.postgres.passwordSecret" $v.collector.postgres.passwordSecret)
      (list "name" "collector.postgres.ca.secret" $v.collector.postgres.ca.secret)
      (list "name" "collector.postgres.ca.configMap" $v.collector.postgres.ca.configMap)
      (list "key" "collector.postgres.ca.key" $v.collector.postgres.ca.key)
      (list "size" "collector.persistence.size" $v.collector.persistence.size)
      (list "name" "collector.persistence.storageClass" $v.collector.persistence.storageClass)
      (list "cron" "backup.schedule" $v.backup.schedule) (list "name" "backup.existingSecret" $v.backup.existingSecret)
      (list "name" "backup.persistence.existingClaim" $v.backup.persistence.existingClaim)
      (list "size" "backup.persistence.size" $v.backup.persistence.size)
      (list "name" "backup.persistence.storageClass" $v.backup.persistence.storageClass)
      (list "interval" "metrics.serviceMonitor.interval" $v.metrics.serviceMonitor.interval)
      (list "interval" "metrics.export.interval" $v.metrics.export.interval)
      (list "name" "metrics.export.tokenSecret" $v.metrics.export.tokenSecret) (list "key" "metrics.export.tokenKey" $v.metrics.export.tokenKey)
      (list "label" "dashboards.namespace" $v.dashboards.namespace) (list "labelKey" "dashboards.label" $v.dashboards.label)
      (list "labelValue" "dashboards.labelValue" $v.dashboards.labelValue)
      (list "labelKey" "dashboards.folderAnnotation" $v.dashboards.folderAnnotation)
      (list "name" "priorityClassName" $v.priorityClassName)) -}}
{{- range $path, $all := dict "gateway.corsAllowedOrigins" (list "origin" $v.gateway.corsAllowedOrigins) "gateway.trustedProxies" (list "network" $v.gateway.trustedProxies) "gateway.proxyProtocolFrom" (list "network" $v.gateway.proxyProtocolFrom)
      "gateway.tls.names" (list "names" $v.gateway.tls.names) "gatewayApi.hostnames" (list "names" $v.gatewayApi.hostnames)
      "gateway.service.loadBalancerSourceRanges" (list "cidr" $v.gateway.service.loadBalancerSourceRanges)
      "topologySpread.keys" (list "labelKey" $v.topologySpread.keys) -}}
{{- range $i, $text := last $all -}}
{{- $texts = append $texts (list (first $all) (printf "%s[%d]" $path $i) ($text | default " ")) -}}
{{- end -}}
{{- end -}}
{{- range $i, $secret := $v.imagePullSecrets -}}
{{- $texts = append $texts (list "name" (printf "imagePullSecrets[%d].name" $i) $secret.name) -}}
{{- end -}}
{{- range $i, $parent := $v.gatewayApi.parentRefs -}}
{{- $texts = append $texts (list "name" (printf "gatewayApi.parentRefs[%d].name" $i) $parent.name) -}}
{{- end -}}
{{- range $path, $labels := dict "commonLabels" $v.commonLabels "podLabels" $v.podLabels "nodeSelector" $v.nodeSelector
      "metrics.serviceMonitor.labels" $v.metrics.serviceMonitor.labels "metrics.export.labels" $v.metrics.export.labels
      "metrics.prometheusRule.labels" $v.metrics.prometheusRule.labels -}}
{{- range $key, $value := $labels -}}
{{- $texts = concat $texts (list (list "labelKey" $path $key) (list "labelValue" (printf "%s.%s" $path $key) $value)) -}}
{{- if and (ne $path "nodeSelector") (or (hasPrefix "app.kubernetes.io/" $key) (hasPrefix "helm.sh/" $key)) -}}
{{- $faults = append $faults (printf "%s: %s is set by the chart. Choose another key." $path $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $path, $annotations := dict "podAnnotations" $v.podAnnotations "gateway.service.annotations" $v.gateway.service.annotations "ingress.annotations" $v.ingress.annotations -}}
{{- range $key, $_ := $annotations -}}
{{- $texts = append $texts (list "labelKey" $path $key) -}}
{{- end -}}
{{- end -}}
{{- range $path, $of := dict "migration" $v.migration "auth" $v.auth "registry" $v.registry "ingest" $v.ingest "query" $v.query "compactor" $v.compactor
      "ruler" $v.ruler "gateway" $v.gateway "collector" $v.collector "backup" $v.backup "cloudNativePg" $v.cloudNativePg -}}
{{- range $i, $variable := $of.extraEnv -}}
{{- $texts = append $texts (list "variable" (printf "%s.extraEnv[%d].name" $path $i) $variable.name) -}}
{{- end -}}
{{- range $kind, $quantities := $of.resources -}}
{{- range $resource, $quantity := $quantities -}}
{{- $texts = append $texts (list "quantity" (printf "%s.resources.%s.%s" $path $kind $resource) (toString $quantity)) -}}
{{- end -}}
{{- end -}}
{{- if $of.autoscaling -}}
{{- if gt (int $of.autoscaling.minReplicas) (int $of.autoscaling.maxReplicas) -}}
{{- $faults = append $faults (printf "%s.autoscaling: minReplicas %d is more than maxReplicas %d. Raise maxReplicas." $path (int $of.autoscaling.minReplicas) (int $of.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and $of.autoscaling.enabled (not (($of.resources).requests).cpu) -}}
{{- $faults = append $faults (printf "%s.autoscaling: its target is a part of the processor request. Set %s.resources.requests.cpu." $path $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $texts -}}
{{- $form := get $forms (first .) -}}
{{- $value := last . -}}
{{- if and $value (not (regexMatch (first $form) $value)) -}}
{{- $faults = append $faults (printf "%s: %q %s." (index . 1) (ternary "***" $value (eq (first .) "url")) (last $form)) -}}
{{- end -}}
{{- end -}}
{{- range list "collector.persistence.size" "backup.persistence.size" "cloudNativePg.storage.size" "metrics.serviceMonitor.interval" "metrics.export.interval"
      "backup.schedule" "databaseCa.key" "collector.postgres.ca.key" "metrics.export.tokenKey" "dashboards.label" "dashboards.folderAnnotation"
      "gateway.tls.certManager.duration" "gateway.tls.certManager.renewBefore" -}}
{{- $path := . -}}
{{- range $texts -}}
{{- if and (eq (index . 1) $path) (not (last .)) -}}
{{- $faults = append $faults (printf "%s: is empty. Leave it out for the default." $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if not $v.image.repository -}}
{{- $faults = append $faults "image.repository: where is the image? No registry holds it ready: make it with `make images`, push it to a registry of yours and name that here." -}}
{{- end -}}
{{- if gt (len $v.fullnameOverride) 40 -}}
{{- $faults = append $faults "fullnameOverride: is longer than 40 characters. Names of objects need the rest of 63; shorten it." -}}
{{- end -}}
{{- if and $v.existingSecret $v.secrets.create -}}
{{- $faults = append $faults "existingSecret and secrets.create exclude each other: name a Secret that exists, or let the chart make it." -}}
{{- else if not (or $v.existingSecret $v.secrets.create) -}}
{{- $faults = append $faults "existingSecret: name the Secret with the keys of values.yaml (the chart's README has the commands), or set secrets.create=true." -}}
{{- end -}}
{{- if $v.secrets.create -}}
{{- if not (.Capabilities.APIVersions.Has "apiregistration.k8s.io/v1") -}}
{{- $faults = append $faults "secrets.create: no cluster can be asked for the Secrets that are there, and each rendering would make other keys. Use `helm install` (--dry-run=server to look at it), or make the Secrets by hand and name them in existingSecret." -}}
{{- end -}}
{{- if $v.migration.existingSecret -}}
{{- $faults = append $faults "migration.existingSecret: the chart makes the owner's Secret with secrets.create. Leave it empty." -}}
{{- end -}}
{{- if $v.backup.existingSecret -}}
{{- $faults = append $faults "backup.existingSecret: the chart makes the backups' Secret with secrets.create. Leave it empty." -}}
{{- end -}}
{{- end -}}
{{- range $key := list "databaseUrl" "timescaleUrl" "ownerDatabaseUrl" "ownerTimescaleUrl" -}}
{{- $url := get $v.secrets $key -}}
{{- if and $v.secrets.create (not $v.cloudNativePg.enabled) (not $url) -}}
{{- $faults = append $faults (printf "secrets.%s: is empty. Name the database, or let the chart make one with cloudNativePg.enabled=true." $key) -}}
{{- end -}}
{{- if and $url (or $v.cloudNativePg.enabled (not $v.secrets.create)) -}}
{{- $faults = append $faults (printf "secrets.%s: is not read %s. Leave it empty." $key (ternary "with cloudNativePg.enabled" "without secrets.create" $v.cloudNativePg.enabled)) -}}
{{- end -}}
{{- end -}}
{{- if and $v.cloudNativePg.enabled (not $v.secrets.create) -}}
{{- $faults = append $faults "cloudNativePg.enabled: its logins' passwords are made by the chart. Set secrets.create=true and leave existingSecret empty." -}}
{{- end -}}
{{- range $path, $ca := dict "databaseCa" $v.databaseCa "collector.postgres.ca" $v.collector.postgres.ca -}}
{{- if and $ca.secret $ca.configMap -}}
{{- $faults = append $faults (printf "%s: secret and configMap exclude each other. Name one." $path) -}}
{{- end -}}
{{- end -}}
{{- $tls := $v.gateway.tls -}}
{{- $kinds := 0 -}}
{{- range list $tls.existingSecret $tls.certManager.enabled $tls.selfSigned.enabled -}}
{{- if . -}}
{{- $kinds = add1 $kinds -}}
{{- end -}}
{{- end -}}
{{- if gt $kinds 1 -}}
{{- $faults = append $faults "gateway.tls: existingSecret, certManager and selfSigned exclude each other. Choose one." -}}
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuer.name) -}}
{{- $faults = append $faults "gateway.tls.certManager.issuer.name: is empty. Name the Issuer or ClusterIssuer that signs." -}}
{{- end -}}
{{- if and (or $tls.certManager.enabled $tls.selfSigned.enabled) (not $tls.names) -}}
{{- $faults = append $faults "gateway.tls.names: is empty. Name what people and collectors write into their URLs." -}}
{{- end -}}
{{- if and $tls.selfSigned.enabled (not (.Capabilities.APIVersions.Has "apiregistration.k8s.io/v1")) -}}
{{- $faults = append $faults "gateway.tls.selfSigned: no cluster can be asked for the certificate that is there, and each rendering would make another. Use `helm install`, or make the Secret by hand and name it in gateway.tls.existingSecret." -}}
{{- end -}}
{{- if has (int $v.metrics.port) (list 8080 9090 9443) -}}
{{- $faults = append $faults (printf "metrics.port: %d is a port of the programs themselves. Take another one, for example 9464." (int $v.metrics.port)) -}}
{{- end -}}
{{- if $v.ingress.enabled -}}
{{- if not $v.ingress.host -}}
{{- $faults = append $faults "ingress.host: is empty. Name the host that people use." -}}
{{- end -}}
{{- if and $v.ingress.passthrough (not $kinds) -}}
{{- $faults = append $faults "ingress.passthrough: nothing serves TLS behind it. Set gateway.tls." -}}
{{- end -}}
{{- if and $v.ingress.passthrough $v.ingress.tlsSecret -}}
{{- $faults = append $faults "ingress.tlsSecret: TLS that passes through does not end there. Leave it empty, or set ingress.passthrough=false." -}}
{{- end -}}
{{- end -}}
{{- $api := $v.gatewayApi -}}
{{- if or $api.http $api.grpc $api.tls -}}
{{- if not $api.parentRefs -}}
{{- $faults = append $faults "gatewayApi.parentRefs: is empty. Name the Gateway, for example [{name: public, namespace: gateways}]." -}}
{{- end -}}
{{- if not $api.hostnames -}}
{{- $faults = append $faults "gatewayApi.hostnames: is empty. Name the host that people and collectors use." -}}
{{- end -}}
{{- if and $api.tls (or $api.http $api.grpc) -}}
{{- $faults = append $faults "gatewayApi.tls: TLS cannot end in the Gateway and pass through it. Choose tls, or http and grpc." -}}
{{- end -}}
{{- if and $api.tls (not $kinds) -}}
{{- $faults = append $faults "gatewayApi.tls: nothing serves TLS behind the route. Set gateway.tls." -}}
{{- end -}}
{{- if and $api.http $kinds -}}
{{- $faults = append $faults "gatewayApi.http: the gateway serves TLS itself. Choose gatewayApi.tls, or leave gateway.tls unset." -}}
{{- end -}}
{{- if and $api.grpc $v.networkPolicy.enabled (not $v.networkPolicy.grpcRouteFrom) -}}
{{- $faults = append $faults "networkPolicy.grpcRouteFrom: is empty, so that the Gateway's pods cannot reach ingest. Name them." -}}
{{- end -}}
{{- end -}}
{{- if $v.collector.enabled -}}
{{- if not $v.collector.postgres.host -}}
{{- $faults = append $faults "collector.postgres.host: is empty. Name the server to watch." -}}
{{- end -}}
{{- if not $v.collector.postgres.passwordSecret -}}
{{- $faults = append $faults "collector.postgres.passwordSecret: is empty. Make a Secret with key `password` of the monitoring login and name it." -}}
{{- end -}}
{{- end -}}
{{- if and $v.backup.enabled (not $v.backup.existingSecret) (not $v.secrets.create) -}}
{{- $faults = append $faults "backup.existingSecret: is empty. Make the Secret with database-url, timescale-url and backup-key (README.md) and name it." -}}
{{- end -}}
{{- if and $v.metrics.export.enabled (not $v.metrics.export.tokenSecret) -}}
{{- $faults = append $faults "metrics.export.tokenSecret: is empty. Make a token with `pgactl tokens create prometheus --role viewer`, put it into a Secret and name that." -}}
{{- end -}}
{{- range $path, $peers := dict "databaseTo" $v.networkPolicy.databaseTo "dnsTo" $v.networkPolicy.dnsTo -}}
{{- if and $v.networkPolicy.enabled (not $peers) (not (and (eq $path "databaseTo") $v.cloudNativePg.enabled)) -}}
{{- $faults = append $faults (printf "networkPolicy.%s: is empty, so that nothing could be reached. Name the peers." $path) -}}
{{- end -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.databasePorts) -}}
{{- $faults = append $faults "networkPolicy.databasePorts: is empty, which would mean every port. Name the databases' ports." -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled $v.networkPolicy.receiverTo (not $v.networkPolicy.receiverPorts) -}}
{{- $faults = append $faults "networkPolicy.receiverPorts: is empty, which would mean every port. Name the ports, or leave receiverTo empty as well." -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n%s" (join "\n" $faults)) -}}
{{- end -}}
{{- end -}}
