"""Every kind goes there and back through the typed models of the official Python client.

Usage: round_trip.py KUBECONFIG FOLDER, where FOLDER holds one full-featured object a resource. Prints what was lost.
"""

import datetime
import json
import pathlib
import re
import sys
import time

from kubernetes import client, config

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$")


def model(group, version, kind):
    """The name of the client's class for a kind."""
    # Where two groups have types of one name, theirs begin with the group.
    shared = {
        ("", "Event"): "CoreV1Event",
        ("events.k8s.io", "Event"): "EventsV1Event",
        ("resource.k8s.io", "ResourceClaim"): "ResourceV1ResourceClaim",
    }
    return shared.get((group, kind), version.capitalize() + kind)


def plain(value):
    """A value without nulls, and with times that compare."""
    if isinstance(value, dict):
        return {name: plain(it) for name, it in value.items() if it is not None}
    if isinstance(value, list):
        return [plain(it) for it in value]
    if isinstance(value, str) and TIME.match(value):
        return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value


def differences(left, right, at=""):
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(set(left) | set(right)):
            if name not in left or name not in right:
                yield f"{at}.{name} is only {'sent' if name in left else 'read'}"
            else:
                yield from differences(left[name], right[name], f"{at}.{name}")
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, pair in enumerate(zip(left, right)):
            yield from differences(*pair, f"{at}[{index}]")
    elif left != right:
        yield f"{at}: {left!r} became {right!r}"


def both(call, api, here, of):
    """One revision of an object, as it is sent and through the client's model. The server may write between two reads."""
    for _ in range(20):
        raw = call("GET", here, "object")
        typed = json.loads(json.dumps(api.sanitize_for_serialization(call("GET", here, of))))
        if raw["metadata"]["resourceVersion"] == typed["metadata"]["resourceVersion"]:
            break
        time.sleep(0.1)
    return plain(raw), plain(typed)


def main(kubeconfig, folder):
    config.load_kube_config(kubeconfig)
    api = client.ApiClient()

    def call(method, path, response, body=None):
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return api.call_api(
            path,
            method,
            header_params=headers,
            body=body,
            response_types_map={code: response for code in (200, 201, 202)},
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
        )

    lost, kinds = [], 0
    # What decides about others comes last.
    last = ("v1.limitranges", "v1.resourcequotas", "scheduling.k8s.io.v1.priorityclasses")
    for file in sorted(pathlib.Path(folder).glob("*.json"), key=lambda file: (file.stem in last, file.stem)):
        group, version, plural = re.match(r"^(?:(.*)\.)?(v\d+)\.([a-z]+)$", file.stem).groups(default="")
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        resources = call("GET", root, "object")["resources"]
        resource = next(it for it in resources if it["name"] == plural)
        if "get" not in resource["verbs"]:
            continue
        kinds += 1
        sent = json.loads(file.read_text())["object"]
        path = root + ("/namespaces/default" if resource["namespaced"] else "") + "/" + plural
        of = model(group, version, resource["kind"])
        try:
            made = call("POST", path, of, sent)
            # What the model makes of it goes back as an update.
            here = f"{path}/{made.metadata.name}"
            for attempt in range(5):
                try:
                    call("PUT", here, of, made)
                    break
                except client.ApiException as error:
                    # The server itself writes what it thinks of some objects.
                    if error.status != 409 or attempt == 4:
                        raise
                    made = call("GET", here, of)
            raw, typed = both(call, api, here, of)
            lost += [f"{file.stem}{it}" for it in differences(raw, typed)]
            call("DELETE", here, "object", {"dryRun": ["All"]})
        except Exception as error:  # one kind must not hide the others
            lost.append(f"{file.stem}: {error}")
    for line in lost:
        print(line)
    print(f"{kinds} kinds, {len(lost)} differences")
    sys.exit(1 if lost or kinds < 59 else 0)


main(*sys.argv[1:])
