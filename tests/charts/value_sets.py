"""Values that the chart takes: name -> values, merged over BASE. Each is linted or rendered, and checked against the schemas of
Kubernetes and of the operators."""
BASE = {"existingSecret": "pganalytics", "image": {"repository": "registry.example.com/team/pganalytics"}}
COLLECTOR = {"enabled": True, "postgres": {"host": "db.example.com", "passwordSecret": "monitor"}}
BACKUP = {"enabled": True, "existingSecret": "pganalytics-backup"}
TLS = {"existingSecret": "pganalytics-tls"}
SERVICES = ("auth", "registry", "ingest", "query", "compactor", "ruler", "gateway")
# What the chart makes itself needs a cluster that can be asked.
MADE = {"existingSecret": "", "secrets": {"create": True}, "cloudNativePg": {"enabled": True}}
URL = "postgresql://somebody:pass%2Fword@db.example.com/"
GIVEN = {"existingSecret": "", "secrets": {"create": True, "databaseUrl": URL + "pganalytics", "timescaleUrl": URL + "metrics",
                                           "ownerDatabaseUrl": URL + "pganalytics", "ownerTimescaleUrl": URL + "metrics"}}
NEEDS_CLUSTER = {"made secrets", "given databases", "own certificate", "cluster of databases", "everything made"}

VALUE_SETS: dict[str, dict] = {
    "defaults": {},
    "owner's secret": {"migration": {"existingSecret": "pganalytics-owner"}},
    "ordinary job": {"migration": {"hook": False, "backoffLimit": 0, "activeDeadlineSeconds": 1000000}},
    "one of each": {name: {"replicas": 1} for name in SERVICES},
    "five of each": {name: {"replicas": 5} for name in SERVICES},
    "tls": {"gateway": {"tls": TLS}},
    "load balancer": {"gateway": {"tls": TLS, "service": {"type": "LoadBalancer", "port": 443,
                                                          "annotations": {"cloud.example.com/internal": "true", "weight": "10"},
                                                          "loadBalancerSourceRanges": ["10.0.0.0/8", "fd00::/8"]}}},
    "node port": {"gateway": {"service": {"type": "NodePort", "port": 80}}},
    "cert-manager": {"gateway": {"tls": {"names": ["pga.example.com", "*.pga.example.com"],
                                         "certManager": {"enabled": True, "issuer": {"name": "company", "kind": "ClusterIssuer"}}}}},
    "own certificate": {"gateway": {"tls": {"names": ["pga.example.com"], "selfSigned": {"enabled": True, "days": 30}}}},
    "made secrets": MADE,
    "given databases": GIVEN,
    "cluster of databases": {**MADE, "cloudNativePg": {
        "enabled": True, "instances": 1, "image": "registry.example.com/postgresql:17.5", "podMonitor": True,
        "storage": {"size": "1Ti", "storageClass": "fast"}, "parameters": {"max_connections": "300", "jit": "off"}}},
    "everything made": {**MADE, "gateway": {"tls": {"names": ["pga.example.com"], "selfSigned": {"enabled": True}}},
                        "backup": {"enabled": True}, "collector": COLLECTOR, "migration": {"backoffLimit": 20}},
    "ingress": {"ingress": {"enabled": True, "host": "pga.example.com", "className": "nginx"}},
    "ingress ends tls": {"ingress": {"enabled": True, "host": "pga.example.com", "tlsSecret": "public",
                                     "annotations": {"cert-manager.io/cluster-issuer": "company", "example.com/number": "5"}}},
    "ingress passes tls": {"gateway": {"tls": TLS}, "ingress": {"enabled": True, "host": "pga.example.com", "passthrough": True}},
    "ingress to tls": {"gateway": {"tls": TLS}, "ingress": {"enabled": True, "host": "pga.example.com", "tlsSecret": "public"}},
    "http and grpc routes": {"gatewayApi": {"http": True, "grpc": True, "hostnames": ["pga.example.com"],
                                            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}]},
                             "networkPolicy": {"grpcRouteFrom": [
                                 {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}}]}},
    "tls route": {"gateway": {"tls": TLS}, "gatewayApi": {"tls": True, "hostnames": ["pga.example.com"],
                                                          "parentRefs": [{"name": "public"}]}},
    "scaling": {name: {"autoscaling": {"enabled": True}} for name in ("ingest", "query", "gateway")},
    "scaling on streams": {"ingest": {"autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 20, "streams": 200}}},
    "service monitor": {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus", "tier": "1"}}}},
    "export": {"metrics": {"export": {"enabled": True, "tokenSecret": "token", "labels": {"on": "true"}}}},
    "export over tls": {"gateway": {"tls": TLS}, "metrics": {"export": {
        "enabled": True, "tokenSecret": "token", "tlsConfig": {
            "serverName": "pga.example.com", "ca": {"secret": {"name": "pganalytics-tls", "key": "ca.crt"}}}}}},
    "rules": {"metrics": {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}},
    "dashboards": {"dashboards": {"enabled": True}},
    "dashboards elsewhere": {"dashboards": {"enabled": True, "namespace": "grafana", "label": "dash", "labelValue": "yes",
                                            "folderAnnotation": "example.com/folder", "folder": "a: b"}},
    "another metrics port": {"metrics": {"port": 1024}},
    "collector": {"collector": COLLECTOR},
    "collector verifies": {"collector": {**COLLECTOR, "id": "123", "interval": 5, "hostMetrics": True, "postgres": {
        **COLLECTOR["postgres"], "port": 6432, "user": "a: b", "databases": "a,b", "sslmode": "verify-full",
        "ca": {"configMap": "db-ca", "key": "ca.pem"}}}},
    "backup": {"backup": BACKUP},
    "backup to a claim": {"backup": {**BACKUP, "schedule": "@daily", "persistence": {"existingClaim": "nfs"}}},
    "database's ca": {"databaseCa": {"secret": "db-ca"}},
    "no policies": {"networkPolicy": {"enabled": False}},
    "narrow policies": {"networkPolicy": {"databasePorts": [5432, 6432], "databaseTo": [{"ipBlock": {"cidr": "10.1.0.0/24"}}],
                                          "receiverTo": [], "metricsFrom": [], "gatewayFrom": [{"podSelector": {}}]}},
    "no budgets": {"podDisruptionBudget": {"enabled": False}},
    "words that YAML takes for others": {
        "existingSecret": "true", "nodeSelector": {"dedicated": "true", "generation": "7"}, "commonLabels": {"cost-center": "0123"},
        "podLabels": {"on": "off"}, "podAnnotations": {"a": "null", "b": "1e3", "c": "a: b"}, "priorityClassName": "1e3",
        "backup": {**BACKUP, "existingSecret": "123", "persistence": {"storageClass": "true", "size": "1Mi"}},
        "collector": {**COLLECTOR, "persistence": {"storageClass": "no", "size": "10Mi"}},
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "true"}}}},
    "placement": {"tolerations": [{"key": "dedicated", "operator": "Equal", "value": "true", "effect": "NoSchedule"}],
                  "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
                  "topologySpread": {"keys": ["topology.kubernetes.io/zone"], "whenUnsatisfiable": "DoNotSchedule"}},
    "no spread": {"topologySpread": {"keys": []}},
    "digest": {"image": {"repository": "localhost:5000/pganalytics", "digest": "sha256:" + "0a" * 32, "pullPolicy": "Always"},
               "imagePullSecrets": [{"name": "pull"}]},
    "names": {"nameOverride": "monitor", "fullnameOverride": "pga"},
    "settings": {"environment": "staging", "logLevel": "debug", "storageLayout": "citus", "terminationGracePeriodSeconds": 120,
                 "query": {"extraEnv": [{"name": "QUERY_CONNECTIONS", "value": "16"}]},
                 "ruler": {"extraEnv": [{"name": "ALERTMANAGER_URL", "value": "http://alertmanager.monitoring:9093"},
                                        {"name": "ALERT_SLACK_URL", "valueFrom": {"secretKeyRef": {"name": "slack", "key": "url"}}}]}},
    "limits": {name: {"resources": {"requests": {"cpu": 0.5, "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}}
               for name in (*SERVICES, "migration", "collector", "backup")},
    "no limits": {name: {"resources": {"limits": None, "requests": None}} for name in SERVICES},
    "envoy": {"gateway": {"kind": "envoy"}},
    "envoy with tls": {"gateway": {"kind": "envoy", "tls": TLS, "envoy": {"replicas": 1}, "service": {"type": "LoadBalancer", "port": 443}},
                       "networkPolicy": {"gatewayFrom": [{"podSelector": {}}]}},
    "envoy behind a load balancer": {"gateway": {"kind": "envoy", "proxyProtocolFrom": ["10.0.0.0/8"], "trustedProxies": ["10.0.0.0/8"],
                                                 "corsAllowedOrigins": ["https://grafana.example.com"]}, "podDisruptionBudget": {"enabled": False}},
    "behind a load balancer": {"gateway": {"proxyProtocolFrom": ["10.0.0.0/8", "fd00::/8"]}},
    "behind proxies": {"gateway": {"trustedProxies": ["10.0.0.0/8", "192.0.2.1", "fd00::/8"], "rateLimitPerMinute": 0,
                                   "corsAllowedOrigins": ["https://grafana.example.com", "http://localhost:3000"]}},
    "subchart": {"global": {"imageRegistry": "registry.example.com"}},
}
