"""A watch over WebSocket, as browsers have it: each event is one message.

Usage: websocket_watch.py KUBECONFIG. Prints what was said.
"""

import json
import ssl
import sys

import websocket
from kubernetes import client, config


def certificate(settings):
    """What the client shows, as the library wants it: in a context."""
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


def main(kubeconfig):
    config.load_kube_config(kubeconfig)
    settings = client.Configuration.get_default_copy()
    core = client.CoreV1Api()
    server = settings.host.replace("https://", "wss://")
    version = core.list_namespaced_config_map("default").metadata.resource_version
    url = f"{server}/api/v1/namespaces/default/configmaps?watch=true&resourceVersion={version}&timeoutSeconds=20"

    def connect(url, **more):
        return websocket.create_connection(
            url, origin="https://localhost", timeout=10, sslopt={"context": certificate(settings)}, **more
        )

    socket = connect(url)
    core.create_namespaced_config_map("default", {"metadata": {"name": "a"}, "data": {"x": "1"}})
    core.patch_namespaced_config_map("a", "default", {"data": {"x": "2"}})
    core.delete_namespaced_config_map("a", "default")
    events = [json.loads(socket.recv()) for _ in range(3)]
    told = [(event["type"], event["object"]["metadata"]["name"], event["object"]["data"]["x"]) for event in events]
    assert told == [("ADDED", "a", "1"), ("MODIFIED", "a", "2"), ("DELETED", "a", "2")], told
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions)) and versions[0] > int(version), versions

    # A ping is answered, and nothing else comes meanwhile.
    socket.ping("alive")
    code, payload = socket.recv_data(control_frame=True)
    assert (code, payload) == (websocket.ABNF.OPCODE_PONG, b"alive"), (code, payload)
    socket.close()

    # A watch that is over is closed.
    socket = connect(url.replace("timeoutSeconds=20", "timeoutSeconds=1"))
    code, _ = socket.recv_data(control_frame=True)
    while code == websocket.ABNF.OPCODE_TEXT:
        code, _ = socket.recv_data(control_frame=True)
    assert code == websocket.ABNF.OPCODE_CLOSE, code
    socket.close()

    # Without an origin there is no handshake.
    try:
        connect(url, suppress_origin=True)
    except websocket.WebSocketBadStatusException as refused:
        assert refused.status_code == 403, refused
    else:
        raise AssertionError("a handshake without origin went through")
    print("3 events over WebSocket")


if __name__ == "__main__":
    main(*sys.argv[1:])
