#!/usr/bin/env python3
"""Writes tests/corpus/hostile.ndjson: requests that no honest client sends, one a line.

    tests/corpus/generate.py > tests/corpus/hostile.ndjson

tests/tests/hostile.rs sends each of them to a real server. The same lines every time. To add a case:
a call of `case` in the function of its kind. Needs Python 3.8 only.

    name     what it tries
    method, target, key      `{draft}` in a target is the uuid of a draft; key is a kind of key, or text
    headers  in the order in which they are sent; texts are Latin-1, so that any byte can be said
    body     pieces of [text, times], or hex; sent with its length, or in chunks where `chunked`
    http     false where it is no HTTP: the server may answer without an envelope, or hang up
"""

import gzip
import json
import sys

JSON = "application/json"
NDJSON = "application/x-ndjson"
OUT = []
DRAFT = "/notifications/{draft}"


def case(name, method, target, body=None, key="server", headers=(), content_type=JSON, **more):
    headers = [list(header) for header in headers]
    one = {"name": name, "method": method, "target": target, "key": key, "headers": headers}
    if body is not None:
        if content_type is not None:
            headers.insert(0, ["Content-Type", content_type])
        one["body"] = body if isinstance(body, dict) else {"pieces": body if isinstance(body, list) else [[body, 1]]}
    one.update(more)
    OUT.append(one)


def text(value):
    return json.dumps(value, ensure_ascii=True)


def tree(node):
    return text({"title": "t", "body": "b", "conditions": node})


WRITES = [
    ("put_device", "PUT", "/devices", JSON),
    ("properties", "POST", "/devices/victim/properties/:add", JSON),
    ("search", "POST", "/devices/-/:search", JSON),
    ("import", "POST", "/devices/-/:import", NDJSON),
    ("create", "POST", "/notifications", JSON),
    ("edit", "PUT", DRAFT, JSON),
    ("launch", "POST", DRAFT + "/:launch", JSON),
    ("status", "PUT", DRAFT + "/status", JSON),
    ("log", "POST", "/internal/devices/logs/notification:add", JSON),
    ("increase", "POST", "/internal" + DRAFT + "/sent:increase", JSON),
]
READS = [
    ("device", "GET", "/devices/victim"),
    ("history", "GET", "/devices/victim/notifications"),
    ("catalogue", "GET", "/devices/-/properties"),
    ("notification", "GET", DRAFT),
    ("notifications", "GET", "/notifications"),
    ("delete_device", "DELETE", "/devices/nobody"),
    ("withdraw", "DELETE", "/notifications/999999"),
    ("rotate", "POST", "/devices/nobody/secret/:rotate"),
]


def key_of(name):
    return "internal" if name in ("log", "increase") else "server"


def bodies():
    """Every operation that takes a body meets every body that is none."""
    odd = {
        "empty": "", "space": "   ", "null": "null", "true": "true", "number": "-0", "text": "\"{}\"",
        "list": "[]", "lists": "[{}]", "two": "{} {}", "half": "{\"", "comma": "{\"a\":1,}",
        "single_quotes": "{'a': 1}", "nan": "{\"a\": NaN}", "infinity": "{\"a\": 1e999}",
        "unknown": "{\"$where\": \"sleep(1)\"}", "proto": "{\"__proto__\": {\"admin\": true}}",
        "twice": "{\"external_id\": \"a\", \"external_id\": \"b\", \"title\": \"a\", \"title\": \"b\"}",
        "byte_order_mark": "\u00ef\u00bb\u00bf{}", "not_utf8": "{\"a\": \"\u00ff\u00fe\"}",
        "surrogate": "{\"external_id\": \"\\ud800\", \"title\": \"\\udfff\"}",
        "nul": "{\"external_id\": \"\\u0000\"}", "raw_nul": "{\"a\": \"\u0000\"}", "control": "{\"a\": \"\u0001\"}",
    }
    large = {
        "deep_lists": [["[", 30000]],
        "deep_objects": [["{\"a\":", 10000]],
        "deep_conditions": [["{\"conditions\":", 4000], ["1", 1], ["}", 4000]],
        "many_keys": [["{", 1], ["\"a\":0,", 10000], ["\"b\":0}", 1]],
        "long_number": [["{\"a\": ", 1], ["9", 60000], ["}", 1]],
        "long_text": [["{\"external_id\": \"", 1], ["x", 60000], ["\"}", 1]],
        "too_large": [["{\"a\": \"", 1], ["x", 3000000], ["\"}", 1]],
    }
    for name, method, target, content_type in WRITES:
        for what, body in odd.items():
            case(f"{name}: {what}", method, target, body, key_of(name), content_type=content_type)
        for what, body in large.items():
            case(f"{name}: {what}", method, target, body, key_of(name), content_type=content_type)
            if what in ("deep_lists", "too_large") and name != "import":
                case(f"{name}: {what} in chunks", method, target, body, key_of(name),
                     content_type=content_type, chunked=True)


def packed():
    """A body that says it is compressed is not unpacked, whatever it would become."""
    # Written out: what a compressor makes of four million zeros is not the same in all its versions.
    bomb = (bytes.fromhex("1f8b0800000000000203edc1010d000000c2a04aef9fce1e0e28") + bytes(3875)
            + bytes.fromhex("e0dd00a98647bf00093d00"))
    nested = bytes.fromhex("1f8b080000000000020393efe660000126e6b7071979818c430bbcdecf3f27c7a7c1300a46c1281805a360148c8251300a"
                           "46c1281805a360148c021078709761659bfb7e064e5b0600fe96c956480f0000")
    small = bytes.fromhex("1f8b0800000000000203abae050043bfa6a302000000")
    assert gzip.decompress(gzip.decompress(nested)) == gzip.decompress(bomb) == b"0" * 4_000_000
    assert gzip.decompress(small) == b"{}"
    for name, method, target, content_type in WRITES:
        for what, encoding, data in [
            ("bomb", "gzip", nested), ("small", "gzip", small), ("broken", "gzip", nested[:40]),
            ("brotli", "br", b"\x0b\x02\x80{}\x03"), ("unknown", "zip, gzip, deflate", b"{}"),
        ]:
            if what in ("bomb", "small") or name in ("search", "import"):
                case(f"{name}: packed {what}", method, target, {"hex": data.hex()}, key_of(name),
                     headers=[("Content-Encoding", encoding)], content_type=content_type)
    case("search: packed flat bomb", "POST", "/devices/-/:search", {"hex": bomb.hex()},
         headers=[("Content-Encoding", "gzip")])


def conditions():
    leaf = {"key": "age", "operator": "int_eq", "value": 1}
    keys = ["$where", "a.b", "a\u0000b", "", "__proto__", "constructor", "x" * 65, "\uff04ne", "device.", "device.secret_hash",
            "device_properties.age", "_id", "app_id", "$$NOW", "a$b", "\u202eage", "age ", {"$ne": None}, None, 7]
    for key in keys:
        case(f"condition: key {key!r}", "POST", "/notifications", tree({**leaf, "key": key}))
    values = [{"$ne": None}, {"$gt": ""}, {"$regex": ".*"}, {"$where": "1"}, [1], [], None, "1e400", "9223372036854775808",
              -9223372036854775809, 1e308, 0.1, "NaN", "0x10", "\u0661", "", " 1", True, "1" * 2000, {"$date": 0}]
    for operator in ["int_eq", "float_gt", "str_eq", "str_in", "bool_eq", "date_gt", "version_gte"]:
        for value in values:
            key = "device.app_version" if operator.startswith("version") else "age"
            case(f"condition: {operator} {str(value)[:30]!r}", "POST", "/notifications",
                 tree({"key": key, "operator": operator, "value": value}))
    for operator in ["$where", "regex", "$expr", "", "INT_EQ", None, 1, ["int_eq"], "int_eq\u0000"]:
        case(f"condition: operator {operator!r}", "POST", "/notifications", tree({**leaf, "operator": operator}))
    deep = leaf
    for _ in range(9):
        deep = {"join_type": "AND", "conditions": [deep]}
    shapes = {
        "depth 9": deep, "33 children": {"join_type": "OR", "conditions": [leaf] * 33}, "no children": {"join_type": "AND", "conditions": []},
        "children an object": {"join_type": "AND", "conditions": {"0": leaf}}, "unknown join": {"join_type": "XOR", "conditions": [leaf]},
        "a list": [leaf], "a text": "age = 1", "a group and a leaf": {**leaf, "join_type": "AND", "conditions": [leaf]},
        "101 nodes": {"join_type": "AND", "conditions": [{"join_type": "OR", "conditions": [leaf] * 25}] * 4},
        "NOT of all": {"join_type": "NOT", "conditions": [deep]}, "in of 1001": {"key": "age", "operator": "int_in", "value": list(range(1001))},
        "unknown field": {**leaf, "$comment": "x"},
    }
    for what, node in shapes.items():
        case(f"condition: {what}", "POST", "/notifications", tree(node))
        case(f"search condition: {what}", "POST", "/devices/-/:search", text({"conditions": node}))
    case("condition: repeated key", "POST", "/notifications",
         '{"title":"t","body":"b","conditions":{"key":"a","key":"b","operator":"int_eq","value":1}}')


def fields():
    edges = [0, -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 1e400, 0.5, -0.0, "1", None, True, [], {}, {"$inc": 1}]
    for value in edges:
        raw = "1e400" if value == float("inf") else text(value)
        for name, method, target, body in [
            ("size", "POST", "/devices/-/:search", '{"all":true,"size":%s}'),
            ("start", "POST", "/devices/-/:search", '{"all":true,"start":%s}'),
            ("status", "PUT", DRAFT + "/status", '{"status":%s}'),
            ("send_platform", "PUT", "/devices", '{"external_id":"edge","send_platform":%s}'),
            ("scheduled_at", "POST", "/notifications", '{"title":"t","body":"b","scheduled_at":%s}'),
            ("property", "POST", "/devices/victim/properties/:add", '{"properties":[{"key":"edge","value":%s}]}'),
            ("expected_reach", "POST", "/notifications/999999/:launch", '{"expected_reach":%s}'),
            ("tolerance", "POST", "/notifications/999999/:launch", '{"expected_reach":1,"tolerance":%s}'),
        ]:
            case(f"{name}: {raw}", method, target, body % raw)
        case(f"device_ids: {raw}", "POST", "/internal/devices/logs/notification:add",
             '{"device_ids":[%s],"notification_id":%s}' % (raw, raw), "internal")
        case(f"ios: {raw}", "POST", "/internal" + DRAFT + "/sent:increase", '{"ios":%s,"batch_id":"~"}' % raw, "internal")
    for when in ["", "now", "0000-00-00T00:00:00Z", "9999-12-31T23:59:60Z", "+262143-12-31T23:59:59Z", "-262144-01-01T00:00:00Z",
                 "2026-11-21T09:00:00+99:99", "2026-02-30T00:00:00Z", "1e9", "2026-11-21", "99999999999999999999"]:
        for field in ["scheduled_at", "expires_at"]:
            case(f"{field}: {when!r}", "POST", "/notifications", text({"title": "t", "body": "b", field: when}))
    for url in ["javascript:alert(1)", "http://169.254.169.254/", "https://[::ffff:7f00:1]/", "file:///etc/passwd", "data:text/html,x",
                "https://user:pw@example.com/", "https://", "//x", "\u0000", "https://x/" + "a" * 3000, "intent://x#Intent;end"]:
        for field in ["image_url", "icon_url", "deep_link"]:
            case(f"{field}: {url[:30]!r}", "POST", "/notifications", text({"title": "t", "body": "b", field: url}))
    told = {
        "locale": ["de_CH", "de-" * 20, "-", "x-", "en-a-bbb-a-ccc", "i-nothing", "de\u0000-CH"],
        "time_zone": ["CEST", "GMT+25", "Mars/Olympus", "Europe/../../etc/passwd", "/etc/localtime", "Europe/" + "a" * 50, "Europe/Zurich\n"],
        "app_version": ["latest", "1.2.3.4.5", "9" * 60, "4.10.2 (812)", "1.-1", "${jndi:x}", "1.2.3-\u00e4"],
        "push_token": ["5bfacad", "5b" * 201, "0x5bfacade", "5bfacade\r\n", "../../3/device/00", "{\"token\": 1}", "5bfacade?a=b"],
    }
    for field, values in told.items():
        for value in values:
            case(f"told {field}: {value[:20]!r}", "PUT", "/devices", text({"external_id": "odd", "send_platform": 2, field: value}))
    odd = ["", "\u0000", "\u202e\u200b", "\ud83d\udc4d" * 64, "a" * 257, "e\u0301" * 50, "\ufdfa" * 40, "../../etc", "<script>", "%00", "\r\nX: y"]
    for value in odd:
        for field in ["external_id", "push_token", "locale", "time_zone", "app_version"]:
            case(f"{field}: {value[:20]!r}", "PUT", "/devices", text({"external_id": "odd", "send_platform": 2, field: value}))
        case(f"title: {value[:20]!r}", "POST", "/notifications", text({"title": value, "body": value, "data": {value: value}}))
        case(f"property key: {value[:20]!r}", "POST", "/devices/victim/properties/:add",
             text({"properties": [{"key": value, "value": value}]}))


def names():
    ids = ["%00", "%FF", "%C0%AE", "..%2F..%2Fetc", "%2e%2e", "a" * 300, "a" * 3000, "%F0%9F%91%8D", "$ne", "%7B%22$ne%22:1%7D", "-", "--", "%20",
           "a%2Fb", "a:b", ":add", "%3Aadd", "%", "%zz", "%u0041", "a;b", "a?b", "'", "%22", "%0D%0AX-Evil:1", "-1", "0", "00000000-0000-0000-0000-000000000000",
           "9223372036854775808", "1e3", "+1", "0x1", "{}", "%7Bdraft%7D"]
    for one in ids:
        for method, target in [("GET", "/devices/{}"), ("GET", "/devices/{}/notifications"), ("DELETE", "/devices/{}"),
                               ("GET", "/notifications/{}"), ("POST", "/notifications/{}/:launch")]:
            case(f"name {one[:24]}", method, target.replace("{}", one))
    for query in ["size=0", "size=-1", "size=1001", "size=9223372036854775808", "size=a", "size=", "size=1&size=2", "size[$gt]=1", "start=-1",
                  "start=18446744073709551616", "start=999999999", "order_bys=$where", "order_bys=" + "id," * 2000, "order_bys=-", "order_bys=%00",
                  "order_bys=id;drop", "status=9", "status=a", "status=%FF", "events=all", "events=%00,", "%FF=%FF", "&&&===", "a" * 5000, "size=%31",
                  "size=1%00", "order_bys=-id,-id,-id", "order_bys=content.title", "order_bys=app_id"]:
        case(f"query {query[:24]}", "GET", "/notifications?" + query)
        case(f"history query {query[:24]}", "GET", "/devices/victim/notifications?" + query)
    for method in ["PATCH", "TRACE", "OPTIONS", "PURGE", "get", "LOCK"]:
        for target in ["/devices", "/notifications", "/health/live", "/nothing", DRAFT]:
            case(f"method {method} {target}", method, target)
    for target in ["//devices", "/devices//", "/./devices", "/devices/../internal", "/%2e%2e/", "/devices%2Fvictim", "/DEVICES", "/internal", "/internal/",
                   "/notifications/" + "a/" * 500, "/" + "a" * 7000, "/;", "/openapi", "/.env", "/docs/../devices"]:
        case(f"path {target[:24]}", "GET", target)


def keys():
    good = "jz_srv_" + "a" * 10 + "_" + "b" * 43 + "_" + "c" * 6
    bad = ["none", "", " ", "x", good, good.replace("srv", "adm"), good[:-1], "jz_srv_", "null", "undefined", "{\"$ne\":1}", "a" * 8000,
           "\u00ff\u00fe", "' OR 1=1", "Bearer x", "jz_srv_\u00e4", "client", "internal"]
    for name, method, target in READS + [(name, method, target) for name, method, target, _ in WRITES]:
        for value in (bad if name in ("device", "create") else ["none", good, "client"]):
            case(f"{name}: key {value[:16]!r}", method, target, "{}" if method in ("POST", "PUT") else None, value)
    case("bearer without a key", "GET", "/notifications", key="none", headers=[("Authorization", "Bearer")])
    case("basic", "GET", "/notifications", key="none", headers=[("Authorization", "Basic YTpi")])
    case("two keys", "GET", "/notifications", headers=[("X-Api-Key", "other")])
    case("server key on the API", "GET", "/notifications", key="none", headers=[("X-Server-Key", good)])
    for value in ["", " ", "two words", "\u00ff", "a" * 256, "a\tb", "{\"$ne\": 1}"]:
        for target in ["/notifications", DRAFT + "/:launch", "/devices/-/:import"]:
            case(f"idempotency key {value[:12]!r}", "POST", target, "", headers=[("Idempotency-Key", value)],
                 content_type=NDJSON if "import" in target else JSON)
    case("idempotency key twice", "POST", "/notifications", "{}", headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])


def heads():
    live = "/health/live"
    for value in ["text/plain", "application/json; charset=utf-7", "application/json, text/html", "application/xml", "", "\u00ff", "a" * 5000,
                  "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "APPLICATION/JSON", "application/json;;;=\"", "json"]:
        case(f"content type {value[:20]!r}", "POST", "/notifications", "{}", content_type=value)
    case("no content type", "POST", "/notifications", "{}", content_type=None)
    for name, value in [("X-Request-Id", "a" * 500), ("X-Request-Id", "\u00ff"), ("X-Request-Id", "a b"), ("Origin", "\u00ff"), ("Origin", "https://evil.example"),
                        ("Accept", "application/xml"), ("Accept", "\u00ff"), ("Range", "bytes=0-"), ("If-None-Match", "*"), ("Expect", "202-whatever"),
                        ("Forwarded", "for=\"[::1]\""), ("X-Forwarded-For", "1.2.3.4, \u00ff"), ("X-HTTP-Method-Override", "DELETE"), ("Upgrade", "h2c"),
                        ("Cookie", "a=" + "b" * 6000), ("TE", "trailers, deflate;q=0.5"), ("Accept-Encoding", "gzip;q=-1"), ("Host", "evil.example"),
                        ("X-Device-Secret", "\u00ff"), ("Connection", "keep-alive, upgrade"), ("Max-Forwards", "-1"), ("Traceparent", "00-" + "f" * 500)]:
        case(f"header {name} {value[:12]!r}", "GET", live, headers=[(name, value)])
        case(f"header {name} {value[:12]!r} on a list", "GET", "/notifications", headers=[(name, value)])
    for number in [50, 90]:
        case(f"{number} headers", "GET", live, headers=[(f"X-{index}", "a") for index in range(number)])
    # What is no HTTP, the layer below answers or hangs up on.
    case("1000 headers", "GET", live, headers=[(f"X-{index}", "a") for index in range(1000)], http=False)
    case("a head of 100 KiB", "GET", live, headers=[("X-Large", "a" * 100_000)], http=False)
    case("a target of 70 KiB", "GET", "/" + "a" * 70_000, http=False)
    case("a space in the target", "GET", "/a b", http=False)
    case("a line break in a header", "GET", live, headers=[("X-A", "a\nb")], http=False)
    case("a NUL in a header", "GET", live, headers=[("X-A", "a\u0000b")], http=False)
    case("a space in a header's name", "GET", live, headers=[("X A", "b")], http=False)
    case("a folded header", "GET", live, headers=[("X-A", "a\r\n b")], http=False)
    case("lengths that disagree", "POST", "/notifications", "{}", headers=[("Content-Length", "3"), ("Content-Length", "9")], http=False)
    case("length and chunks", "POST", "/notifications", "{}", headers=[("Content-Length", "2")], chunked=True, http=False)
    case("a negative length", "POST", "/notifications", headers=[("Content-Length", "-1")], http=False)
    case("a length beyond 64 bits", "POST", "/notifications", headers=[("Content-Length", "99999999999999999999")], http=False)
    case("an enormous length", "POST", "/notifications", headers=[("Content-Type", JSON), ("Content-Length", "999999999999")])
    case("an unknown coding", "POST", "/notifications", headers=[("Transfer-Encoding", "gzip")], http=False)
    case("a method of bytes", "G\u00ffT", live, http=False)
    case("a target of bytes", "GET", "/\u00ff", http=False)
    case("an absolute target", "GET", "http://evil.example" + live, http=False)
    case("a star", "OPTIONS", "*", http=False)


def lines():
    good = '{"external_id": "line"}'
    for what, body in {
        "no end": good, "carriage returns": good + "\r\n" + good + "\r\n", "only ends": "\n" * 1000, "a list": "[" + good + "]\n",
        "half": good + "\n" + '{"external', "nul": "\u0000\n" * 10, "bytes": "\u00ff\u00fe\n" * 10, "same device": (good + "\n") * 50,
        "deep property": '{"external_id": "line", "properties": {"a": ' + "[" * 100 + "]" * 100 + "}}\n",
        "many properties": text({"external_id": "line", "properties": {f"p{index}": index for index in range(500)}}) + "\n",
        "token of another kind": text({"external_id": "line", "send_platform": 2, "push_token": "not hexadecimal"}) + "\n",
    }.items():
        case(f"import: {what}", "POST", "/devices/-/:import", body, content_type=NDJSON)
        case(f"import: {what} in chunks", "POST", "/devices/-/:import", body, content_type=NDJSON, chunked=True)
    case("import: one line of 2 MB", "POST", "/devices/-/:import", [["x", 2_000_000], ["\n" + good, 1]], content_type=NDJSON)
    case("import: 20,000 bad lines", "POST", "/devices/-/:import", [["{}\n", 20_000]], content_type=NDJSON)


def main():
    for part in (bodies, packed, conditions, fields, names, keys, heads, lines):
        part()
    for one in OUT:
        sys.stdout.write(json.dumps(one, ensure_ascii=True) + "\n")


main()
