"""A client of the compute job API in Python's standard library alone, with every way of signing seen in the field.

It shares no code with the server: what it sends and signs is what foreign clients send and sign.
Works on Python 3.9 and newer.

    python3 flotilla_client.py --url http://127.0.0.1:7070 --key-file admin-key.json --variant V3 exercise
    python3 flotilla_client.py --key-file admin-key.json --variant V1 --loose-wire exercise --no-wait
"""

import argparse
import hashlib
import hmac
import http.client
import json
import math
import secrets
import ssl
import sys
import time
import urllib.parse

TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
TIMEOUT_SECONDS = 30


class ClientError(Exception):
    """What went wrong, in one sentence."""


class ApiError(ClientError):
    def __init__(self, method, target, status, text):
        super().__init__("%s %s was answered %d: %s" % (method, target, status, text[:1000]))
        self.status = status
        try:
            self.code = json.loads(text)["error"]["code"]
        except (ValueError, KeyError, TypeError):
            self.code = None


# --- queries: a list of (key, value) pairs in the order the caller gave -------------------------------------------


def form_keys_sorted(pairs):
    """V1: Python's urlencode, keys sorted, values of one key as they came."""
    return urllib.parse.urlencode(sorted(pairs, key=lambda pair: pair[0]))


def form_pairs_sorted(pairs):
    """V1b: Python's urlencode of sorted pairs."""
    return urllib.parse.urlencode(sorted(pairs))


def rfc3986(pairs):
    """V2: quote with nothing safe, pairs sorted before encoding."""
    return "&".join("%s=%s" % (quoted(key), quoted(value)) for key, value in sorted(pairs))


def rfc3986_sorted_encoded(pairs):
    """V3: the same, but sorted after encoding, values too."""
    return "&".join("%s=%s" % pair for pair in sorted((quoted(key), quoted(value)) for key, value in pairs))


def no_query(_pairs):
    """V4: a client that never sends a query and signs the empty one."""
    return ""


def elixir(pairs):
    """V5: URI.encode/2 with char_unreserved?/1 over pairs sorted as binaries."""
    ordered = sorted((key.encode(), value.encode()) for key, value in pairs)
    return "&".join("%s=%s" % (percent(key), percent(value)) for key, value in ordered)


def whatwg(pairs):
    """WHATWG: URLSearchParams after sort(), with values sorted too; both in UTF-16 order as JavaScript does."""
    ordered = sorted(pairs, key=lambda pair: (utf16(pair[0]), utf16(pair[1])))
    safe = UNRESERVED.replace("~", "*")
    encoded = ("%s=%s" % (percent(key.encode(), safe), percent(value.encode(), safe)) for key, value in ordered)
    return "&".join(encoded).replace("%20", "+")


def quoted(text):
    return urllib.parse.quote(text, safe="")


def percent(data, safe=UNRESERVED):
    return "".join(chr(byte) if chr(byte) in safe else "%%%02X" % byte for byte in data)


def utf16(text):
    return text.encode("utf-16-be")


# --- bodies -------------------------------------------------------------------------------------------------------


def ascii_json(body):
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def utf8_json(body):
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def jason(body):
    """V5: what an Elixir client builds by hand: keys sorted, scalars by Jason.encode, no escapes beyond JSON's own."""
    return jason_text(body).encode()


def jason_text(value):
    if isinstance(value, dict):
        return "{%s}" % ",".join("%s:%s" % (jason_text(key), jason_text(value[key])) for key in sorted(value))
    if isinstance(value, (list, tuple)):
        return "[%s]" % ",".join(map(jason_text, value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    return '"%s"' % "".join(map(jason_character, value))


def jason_character(character):
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
    if character in short:
        return short[character]
    return "\\u%04X" % ord(character) if character < " " else character


VARIANTS = {
    "V1": (form_keys_sorted, ascii_json),
    "V1b": (form_pairs_sorted, ascii_json),
    "V2": (rfc3986, ascii_json),
    "V3": (rfc3986_sorted_encoded, utf8_json),
    "V4": (no_query, utf8_json),
    "V5": (elixir, jason),
    "WHATWG": (whatwg, utf8_json),
}


# --- what goes over the wire when it is not what was signed -------------------------------------------------------


def loose_query(pairs):
    """Insertion order and hardly any encoding, as HTTP libraries do on their own."""
    return "&".join("%s=%s" % tuple(urllib.parse.quote(part, safe="[],*!'()~") for part in pair) for pair in pairs)


def loose_json(body):
    return json.dumps(body, indent=1, ensure_ascii=False).encode()


class FlotillaClient:
    """Calls the API, signed by one variant. `loose_wire` sends other bytes than the canonical ones it signed."""

    def __init__(self, url, public_key, secret_key, variant="V1", loose_wire=False, ca_file=None):
        self.url = urllib.parse.urlsplit(url)
        self.public_key = public_key
        self.secret_key = secret_key
        self.variant = variant
        self.encode_query, self.encode_body = VARIANTS[variant]
        self.loose_wire = loose_wire
        self.tls = ssl.create_default_context(cafile=ca_file) if self.url.scheme == "https" else None

    def sends_queries(self):
        return self.variant != "V4"

    def headers(self, method, path, pairs, body, time_ms=None, nonce=None):
        time_ms = str(time_ms if time_ms is not None else math.floor(time.time() * 1000))
        nonce = nonce or secrets.token_hex(16)
        body_hash = hashlib.sha256(body).hexdigest()
        parts = [self.public_key, time_ms, nonce, method, path, self.encode_query(pairs), body_hash]
        signature = hmac.new(self.secret_key.encode(), "|".join(parts).encode(), hashlib.sha256).hexdigest()
        return {"X-API-Key": self.public_key, "X-Time": time_ms, "X-Nonce": nonce, "X-Signature": signature}

    def request(self, method, path, pairs=(), body=None):
        """The parsed answer; ApiError for 400 and above."""
        pairs = list(pairs)
        path = self.url.path.rstrip("/") + path
        signed = b"" if body is None else self.encode_body(body)
        headers = self.headers(method, path, pairs, signed)
        headers["Accept"] = "application/json"
        if body is not None:
            headers["Content-Type"] = "application/json"
        query = loose_query(pairs) if self.loose_wire else self.encode_query(pairs)
        target = path + ("?" + query if query else "")
        wire = loose_json(body) if self.loose_wire and body is not None else signed
        status, text = self.exchange(method, target, wire or None, headers)
        if status >= 400:
            raise ApiError(method, target, status, text)
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise ClientError("%s %s was answered with something that is not JSON: %s" % (method, target, text[:300]))

    def exchange(self, method, target, body, headers):
        try:
            connection = self.connection()
            try:
                connection.request(method, target, body=body, headers=headers)
                response = connection.getresponse()
                return response.status, response.read().decode()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise ClientError("Cannot reach %s: %s" % (urllib.parse.urlunsplit(self.url), error))

    def connection(self):
        if self.tls:
            return http.client.HTTPSConnection(self.url.netloc, timeout=TIMEOUT_SECONDS, context=self.tls)
        return http.client.HTTPConnection(self.url.netloc, timeout=TIMEOUT_SECONDS)

    def create_job(self, body):
        return self.request("POST", "/v1/jobs", body=body)

    def list_jobs(self, pairs=()):
        return self.request("GET", "/v1/jobs", pairs)

    def get_job(self, uuid):
        return self.request("GET", "/v1/jobs/" + uuid)

    def cancel_job(self, uuid, body=None):
        return self.request("PUT", "/v1/jobs/%s/cancel" % uuid, body=body)

    def list_runs(self, pairs=()):
        return self.request("GET", "/v1/job-runs", pairs)

    def get_run(self, uuid):
        return self.request("GET", "/v1/job-runs/" + uuid)

    def get_run_logs(self, uuid, offset=0):
        pairs = [("offset", str(offset))] if self.sends_queries() else []
        return self.request("GET", "/v1/job-runs/%s/logs" % uuid, pairs)


# --- the exercise: one life of a job, checked step by step --------------------------------------------------------

ODD_TITLE = "Rendu café \U0001f680 ~ \ue000 日本"
ODD_ENV = {"9": "nine", "10": "ten", "GREETING": "hello  world ~*!'()", "NOTE": "quote \" backslash \\ / é \t\u007f"}


def job_body(options, title, task):
    command = ["sh", "-c", 'echo "$GREETING"; echo err >&2' if task == "BATCH" else "sleep 3600"]
    return {
        "title": title,
        "task": task,
        "cpu_count": 0,
        "gpu_count": 0,
        "min_ram_gb": 0.25,
        "max_timeout_run_ms": 600000 if task == "BATCH" else None,
        "parameters": {
            "type": "docker",
            "parameters": {
                **{"image": options.image, "tag": options.tag, "command": command, "env": ODD_ENV, "ports": []},
                **{"host": "", "user": "", "secret": "", "sshkey": ""},
            },
        },
    }


def check(condition, sentence):
    if not condition:
        raise ClientError(sentence)


def poll(seconds, what, attempt):
    """The first truthy result of `attempt`."""
    deadline = time.monotonic() + seconds
    while True:
        result = attempt()
        if result:
            return result
        check(time.monotonic() < deadline, "Waited %d s in vain for %s." % (seconds, what))
        time.sleep(0.1)


def exercise(client, options):
    outcome = {"variant": client.variant, "loose_wire": client.loose_wire}
    job = client.create_job(job_body(options, ODD_TITLE, "BATCH"))
    uuid = job["uuid"]
    outcome.update(job_uuid=uuid, created_status=job["status"])
    check(job["object"] == "job", "Create answered with object %r instead of job." % job["object"])
    check_stored(client.get_job(uuid), uuid)
    outcome["listed"] = check_lists(client, uuid)
    if options.no_wait:
        outcome["cancelled_status"] = check_cancel(client, uuid)
    else:
        outcome.update(finish(client, uuid, options.wait_seconds))
        persistent = client.create_job(job_body(options, "persistent %s" % ODD_TITLE, "PERSISTENT"))["uuid"]
        running = ("RUNNING",) + TERMINAL
        poll(options.wait_seconds, "the persistent job to run", lambda: client.get_job(persistent)["status"] in running)
        outcome["cancelled_status"] = check_cancel(client, persistent)
    return outcome


def check_stored(job, uuid):
    check(job["uuid"] == uuid, "GET of job %s answered with job %s." % (uuid, job["uuid"]))
    check(job["title"] == ODD_TITLE, "The title came back changed: %r." % job["title"])
    env = job["parameters"]["parameters"]["env"]
    check(env == ODD_ENV, "The environment came back changed: %r." % env)


def check_lists(client, uuid):
    """How many jobs the filtered list gave."""
    check(client.list_jobs()["data"], "The list of jobs is empty after a create.")
    if not client.sends_queries():
        return None
    found = client.list_jobs([("limit", "50"), ("filter[uuid]", uuid), ("sort", "-created_at")])
    check([job["uuid"] for job in found["data"]] == [uuid], "The list filtered by uuid did not give that job alone.")
    every = "PENDING,ASSIGNED,RUNNING,COMPLETED,FAILED,CANCELLED"
    listed = client.list_jobs([("sort", "-created_at"), ("filter[status]", every), ("limit", "50")])["data"]
    check(uuid in [job["uuid"] for job in listed], "The list filtered by status lacks the new job.")
    check_odd_query(client)
    return len(listed)


def check_odd_query(client):
    """Parameters nobody knows may be refused as such, but the signature over them must hold."""
    odd = [("zz", "b"), ("zz", "a"), ("note", "a b~*!'()"), ("aB", "1"), ("a[", "é\U0001f680\ue000")]
    try:
        client.list_jobs(odd)
    except ApiError as error:
        check(error.status == 400 and error.code == "validation_failed", str(error))


def finish(client, uuid, wait_seconds):
    job = poll(wait_seconds, "job %s to end" % uuid, lambda: ended(client.get_job(uuid)))
    pairs = [("filter[job_uuid]", uuid), ("limit", "10")] if client.sends_queries() else []
    runs = [run for run in client.list_runs(pairs)["data"] if run["job_uuid"] == uuid]
    check(runs, "Job %s ended as %s without a run: %s" % (uuid, job["status"], job.get("status_reason")))
    run = poll(wait_seconds, "the run to end", lambda: ended(client.get_run(runs[0]["uuid"])))
    logs = poll(wait_seconds, "the log to be complete", lambda: complete(client.get_run_logs(run["uuid"])))
    if job["status"] == "COMPLETED":
        check(ODD_ENV["GREETING"] in run["logs"], "The run's logs lack what the job wrote: %r." % run["logs"])
        check(ODD_ENV["GREETING"] in logs["text"], "The logs endpoint lacks what the job wrote: %r." % logs["text"])
        rest = client.get_run_logs(run["uuid"], logs["next_offset"])
        check(rest["text"] == "" or not client.sends_queries(), "Text came from beyond the end: %r." % rest["text"])
    told = {"status": job["status"], "status_reason": job.get("status_reason")}
    return {**told, "run_uuid": run["uuid"], "logs": logs["text"]}


def ended(resource):
    return resource if resource["status"] in TERMINAL else None


def complete(logs):
    return logs if logs["is_complete"] else None


def check_cancel(client, uuid):
    """The status after a stop that is sent twice and without a body the second time."""
    job = client.cancel_job(uuid, {"reason": "Cancelled by user: café ~*", "stop_grace_ms": 1000})
    check(job["status"] in TERMINAL, "After cancel the job is %s." % job["status"])
    again = client.cancel_job(uuid)
    same = again["status"] == job["status"] and again["status_reason"] == job["status_reason"]
    check(same, "A second cancel changed the job: %r." % again)
    return job["status"]


def main():
    options = parse_arguments()
    try:
        with open(options.key_file, encoding="utf-8") as file:
            key = json.load(file)
        client = FlotillaClient(
            options.url or key["url"],
            key["public_key"],
            key["secret_key"],
            variant=options.variant,
            loose_wire=options.loose_wire,
            ca_file=options.ca_file,
        )
        print(json.dumps(exercise(client, options), sort_keys=True))
        return 0
    except (ClientError, OSError, KeyError, TypeError, ValueError) as error:
        told = error if isinstance(error, ClientError) else "%s: %s" % (type(error).__name__, error)
        print("%s: %s" % (options.variant, told), file=sys.stderr)
        return 1


def parse_arguments():
    parser = argparse.ArgumentParser(description="Exercises the job API with one way of signing.")
    parser.add_argument("--url", help="server; the key file's when absent")
    parser.add_argument("--key-file", required=True, help="JSON with public_key, secret_key and url")
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="V1")
    parser.add_argument("--loose-wire", action="store_true", help="send other bytes than the canonical ones signed")
    parser.add_argument("--ca-file", help="PEM of the authority to trust")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("exercise", help="create, list, get, wait, logs, cancel; one JSON line at the end")
    command.add_argument("--no-wait", action="store_true", help="for a server without nodes: cancel the PENDING job")
    command.add_argument("--wait-seconds", type=int, default=120)
    command.add_argument("--image", default="busybox")
    command.add_argument("--tag", default="latest")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
