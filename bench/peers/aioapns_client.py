"""aioapns alone; what client.js is for the libraries for Node."""

import asyncio
import collections
import json
import os
import pathlib
import resource
import ssl
import sys
import time
import urllib.parse

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol

# Requests under way at a time: the streams that one connection gets.
AT_A_TIME = 1000


def say(**event):
    print(json.dumps(event), flush=True)


async def main():
    work = json.loads(pathlib.Path(os.environ["PEER_WORK"]).read_text())
    # The host is a constant of the class.
    APNsProductionClientProtocol.APNS_SERVER = "127.0.0.1"
    APNsProductionClientProtocol.APNS_PORT = urllib.parse.urlsplit(work["apns"]).port
    # Its own context offers no protocol by ALPN, which the sandbox insists on.
    tls = ssl.create_default_context(cafile=work["ca_file"])
    tls.set_alpn_protocols(["h2"])
    client = APNs(
        key=pathlib.Path(work["apns_key_file"]).read_text(), key_id=work["apns_key_id"],
        team_id=work["apns_team_id"], topic=work["apns_topic"], ssl_context=tls,
    )
    message = {"aps": {"alert": {"title": work["title"], "body": work["body"]}}}
    errors = collections.Counter()
    tokens = iter(work["tokens"])

    async def send(token):
        try:
            request = NotificationRequest(token, message, priority=10, push_type=PushType.ALERT)
            result = await client.send_notification(request)
            return None if result.is_successful else f"{result.status} {result.description}"
        except Exception as problem:
            return type(problem).__name__

    async def caller():
        for token in tokens:
            if error := await send(token):
                errors[error] += 1

    say(event="ready", refused=await send(work["tokens"][0]))
    sys.stdin.readline()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(AT_A_TIME)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say(event="done", seconds=seconds, cpu_seconds=cpu, peak_bytes=peak, errors=errors)


asyncio.run(main())
