"""A Kubernetes API that knows Secrets alone, for what the chart looks up in a cluster."""
import base64
import http.server
import json
import pathlib
import tempfile
import threading


class FakeCluster:
    """Serves on a port of its own while in use; kubeconfig is the path of a file for Helm."""

    def __init__(self):
        self.secrets: dict[str, dict[str, str]] = {}
        cluster = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the base class' name)
                path = self.path.partition("?")[0].strip("/").split("/")
                if path == ["version"]:
                    return self.answer({"major": "1", "minor": "30", "gitVersion": "v1.30.0"})
                if path == ["api"]:
                    return self.answer({"kind": "APIVersions", "versions": ["v1"]})
                if path == ["apis"]:
                    return self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
                if path == ["api", "v1"]:
                    return self.answer({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
                        {"name": "secrets", "namespaced": True, "kind": "Secret", "verbs": ["get", "list"]}]})
                if path[:3] == ["api", "v1", "namespaces"] and path[4] == "secrets" and path[-1] in cluster.secrets:
                    data = {k: base64.b64encode(v.encode()).decode() for k, v in cluster.secrets[path[-1]].items()}
                    return self.answer({"kind": "Secret", "apiVersion": "v1", "data": data,
                                        "metadata": {"name": path[-1], "namespace": path[3]}})
                return self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                                    "message": f"{self.path} not found"}, 404)

            def answer(self, body: dict, code: int = 200):
                text = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.folder = tempfile.TemporaryDirectory()
        self.kubeconfig = pathlib.Path(self.folder.name) / "config"
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
            "users": [{"name": "fake", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}]}))
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.folder.cleanup()

    @property
    def args(self) -> tuple[str, ...]:
        return "--kubeconfig", str(self.kubeconfig), "--dry-run=server"
