"""The measuring half of pod_kill_race.sh: a proxy that notes when a DELETE arrives, and the three programs in turn."""

import base64
import http.client
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

CONTEXT, RUNS, CHAOS, CHAOSTOOLKIT, SCRATCH = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
NAMESPACE = "pod-kill-race"
PATIENCE_S = 60


def kubectl(*arguments, **options):
    return subprocess.run(["kubectl", "--context", CONTEXT, *arguments], check=True, capture_output=True, text=True, **options).stdout


def upstream():
    """Where the API server is, and the certificates of the context."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    files = {}
    for name, data in [("ca", cluster["certificate-authority-data"]), ("cert", user["client-certificate-data"]), ("key", user["client-key-data"])]:
        files[name] = os.path.join(SCRATCH, name)
        with open(files[name], "wb") as file:
            file.write(base64.b64decode(data))
    tls = ssl.create_default_context(cafile=files["ca"])
    tls.load_cert_chain(files["cert"], files["key"])
    return urlparse(cluster["server"]), tls


SERVER, TLS = upstream()
deleted = threading.Event()
deleted_at = [0.0]


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # As an API server does; else each answer after the first of a connection comes 40 ms late.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def forward(self):
        if self.command == "DELETE" and "/pods/" in self.path and not deleted.is_set():
            deleted_at[0] = time.monotonic()
            deleted.set()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPSConnection(SERVER.hostname, SERVER.port, context=TLS, timeout=PATIENCE_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "accept-encoding", "connection")}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while chunk := answer.read1(65536):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward


def ready_pod():
    kubectl("-n", NAMESPACE, "wait", "--for=condition=Available", "deployment/target", f"--timeout={PATIENCE_S}s")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        pods = json.loads(kubectl("-n", NAMESPACE, "get", "pods", "-o", "json"))["items"]
        slices = json.loads(kubectl("-n", NAMESPACE, "get", "endpointslices", "-o", "json"))["items"]
        live = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        ready = [end["targetRef"]["name"] for one in slices for end in one["endpoints"] or [] if end["conditions"].get("ready")]
        if len(pods) == 1 and ready == live:
            return live[0]
        time.sleep(0.1)
    sys.exit("the pod did not become ready")


def main():
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    kubeconfig = os.path.join(SCRATCH, "kubeconfig")
    with open(kubeconfig, "w") as file:
        json.dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "race",
                "clusters": [{"name": "race", "cluster": {"server": f"http://127.0.0.1:{proxy.server_port}"}}],
                "users": [{"name": "race", "user": {}}],
                "contexts": [{"name": "race", "context": {"cluster": "race", "user": "race"}}],
            },
            file,
        )
    experiment = os.path.join(SCRATCH, "experiment.json")
    with open(experiment, "w") as file:
        arguments = {"label_selector": "app=target", "ns": NAMESPACE, "grace_period": 0}
        action = {"type": "action", "name": "kill", "provider": {"type": "python", "module": "chaosk8s.pod.actions", "func": "terminate_pods", "arguments": arguments}}
        json.dump({"version": "1.0.0", "title": "kill", "description": "kill", "method": [action]}, file)
    environment = {**os.environ, "KUBECONFIG": kubeconfig, "HOME": SCRATCH}
    programs = {
        "chaos inject": lambda _: [os.path.abspath(CHAOS), "inject", "pod-kill", "grace=0s", "--cluster", "context:race", "--yes-i-mean", "race", "-n", NAMESPACE, "--service", "target", "--reports", SCRATCH + "/reports"],
        "kubectl delete": lambda pod: ["kubectl", "-n", NAMESPACE, "delete", "pod", pod, "--grace-period=0", "--force", "--wait=false"],
        "Chaos Toolkit": lambda _: [os.path.abspath(CHAOSTOOLKIT), "--no-version-check", "run", experiment],
    }
    took = {name: [] for name in programs}
    # One more of each at first, unmeasured: kubectl then has its cache of what the server serves, and every program is in memory.
    for run in range(RUNS + 1):
        for name, command in programs.items():
            pod = ready_pod()
            deleted.clear()
            begun = time.monotonic()
            child = subprocess.Popen(command(pod), cwd=SCRATCH, env=environment, stdout=subprocess.DEVNULL, stderr=open(os.path.join(SCRATCH, "said"), "w"))
            if not deleted.wait(PATIENCE_S):
                sys.exit(f"{name} sent no DELETE: {open(os.path.join(SCRATCH, 'said')).read()}")
            if run > 0:
                took[name].append((deleted_at[0] - begun) * 1e3)
            child.wait(PATIENCE_S)
    ours = statistics.median(took["chaos inject"])
    print(f"process start to the DELETE at the API server, ms, n = {RUNS} each")
    for name, times in took.items():
        times.sort()
        print(f"  {name:<15} median {statistics.median(times):8.1f}  min {times[0]:8.1f}  max {times[-1]:8.1f}  {statistics.median(times) / ours:6.1f}x")


try:
    main()
finally:
    subprocess.run(["kubectl", "--context", CONTEXT, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false"], stdout=subprocess.DEVNULL)
    shutil.rmtree(SCRATCH, ignore_errors=True)
