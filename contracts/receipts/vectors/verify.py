"""Checks the vectors beside it, or a proof file against a key, with nothing but Python's standard library.

    python3 verify.py                        all vectors
    python3 verify.py proof.json NAME+ID+KEY one proof

Written from FORMAT.md, RFC 9162, RFC 8032 and C2SP's signed-note, not from the Rust code: that is its use.
"""

import base64
import hashlib
import json
import pathlib
import re
import struct
import sys


class Invalid(Exception):
    """What does not verify."""


def require(condition, reason):
    if not condition:
        raise Invalid(reason)


def sha256(data):
    return hashlib.sha256(data).digest()


# The leaf: FORMAT.md.

SLUG = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
MODEL = r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?"
FUNCTION = r"[a-z][a-z0-9_]{0,62}"


def decode_leaf(data):
    at = 0

    def take(count):
        nonlocal at
        require(at + count <= len(data), "leaf cut short")
        at += count
        return data[at - count : at]

    def number():
        return struct.unpack(">Q", take(8))[0]

    def text(pattern):
        raw = take(struct.unpack(">H", take(2))[0])
        require(re.fullmatch(pattern, raw.decode("ascii", "replace"), re.ASCII), "a name is not valid")
        return raw.decode()

    def step():
        count = struct.unpack(">I", take(4))[0]
        require(count % 2 == 1, "a step has an odd count of numbers")
        numbers = struct.unpack(f">{count}I", take(4 * count))
        require(0 not in numbers, "a step's number is zero")
        return ".".join(map(str, numbers))

    def model():
        flag = take(1)[0]
        require(flag in (0, 1), "the model flag is neither 0 nor 1")
        return {"id": text(MODEL), "hash": take(32).hex()} if flag else None

    require(take(1) == b"\x01", "not version 1")
    leaf = {
        "project": text(SLUG),
        "agent": text(SLUG),
        "session": "ses_" + take(16).hex(),
        "turn": number(),
        "step": step(),
        "hold": "hold_" + take(16).hex(),
        "function": text(FUNCTION),
        "model": model(),
        "prompt_hash": take(32).hex(),
        "response_hash": take(32).hex(),
        "tokens_in": number(),
        "tokens_out": number(),
        "duration_ms": number(),
        "price": number(),
        "time": number(),
    }
    require(at == len(data), "bytes follow the leaf")
    return leaf


def leaf_hash(data):
    return sha256(b"\x00" + data)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


# The tree: RFC 9162, sections 2.1.1, 2.1.3.2 and 2.1.4.2.


def tree_root(hashes):
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return node_hash(tree_root(hashes[:split]), tree_root(hashes[split:]))


def verify_inclusion(leaf, index, size, path, root):
    require(index < size, "no such leaf")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        require(sn != 0, "path too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0, "path too short")
    require(r == root, "the path leads to another root")


def verify_consistency(old_size, old_root, new_size, new_root, path):
    if old_size == new_size:
        require(old_root == new_root and not path, "equal sizes, unequal roots")
        return
    require(0 < old_size < new_size and path, "sizes or path")
    if old_size & (old_size - 1) == 0:
        path = [old_root] + path
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        require(sn != 0, "path too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0 and fr == old_root and sr == new_root, "not consistent")


# Ed25519: RFC 8032, section 6.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def point_add(a, b):
    c, d = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    e, f = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    x, y, z, t = d - c, f - e, f + e, d + c
    return x * y % P, z * t % P, y * z % P, x * t % P


def point_multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = point_add(result, point)
        point, scalar = point_add(point, point), scalar >> 1
    return result


def point_decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    require(y < P, "no point of the curve")
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    require((x * x - x2) % P == 0 and (x or not sign), "no point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point_decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def verify_ed25519(public, message, signature):
    require(len(public) == 32 and len(signature) == 64, "lengths of key and signature")
    a, r, s = point_decompress(public), point_decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    require(s < L, "the signature's scalar is too large")
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = point_multiply(s, BASE), point_add(r, point_multiply(h, a))
    same = (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0
    require(same, "the signature does not fit")


# Signed notes and checkpoints: C2SP signed-note and tlog-checkpoint.


def open_checkpoint(note, key):
    name, key_id, data = key.split("+", 2)
    data = base64.b64decode(data, validate=True)
    require(data[0] == 1 and sha256(name.encode() + b"\n" + data)[:4].hex() == key_id, "not a verifier key")
    text, separator, signatures = note.rpartition("\n\n")
    require(separator, "not a signed note")
    text += "\n"
    signed = False
    for line in signatures.removesuffix("\n").split("\n"):
        dash, signer, signature = line.split(" ")
        require(dash == "\u2014", "not a signature line")
        signature = base64.b64decode(signature, validate=True)
        if signer == name and signature[:4].hex() == key_id:
            verify_ed25519(data[1:], text.encode(), signature[4:])
            signed = True
    require(signed, "not signed by the trusted key")
    origin, size, root = text.split("\n")[:3]
    require(origin == name and str(int(size)) == size, "not a checkpoint of this log")
    return int(size), base64.b64decode(root, validate=True)


# The anchor as a memo: FORMAT.md.


def decode_memo(memo):
    match = re.fullmatch(r"steward-anchor/1 ([0-9a-f]{64}) (0|[1-9][0-9]*) ([0-9a-f]{64})", memo, re.ASCII)
    require(match and int(match[2]) < 1 << 64, "not an anchor's memo")
    return bytes.fromhex(match[1]) + struct.pack(">Q", int(match[2])) + bytes.fromhex(match[3])


def verify_proof(proof, key):
    require(proof["format"] == "steward-receipt-proof/v1", "not a proof")
    data = bytes.fromhex(proof["leaf_bytes"])
    require(decode_leaf(data) == proof["leaf"], "the readable leaf is not what its bytes say")
    size, root = open_checkpoint(proof["checkpoint"], key)
    require(size == proof["tree_size"], "the checkpoint is of another size")
    verify_inclusion(leaf_hash(data), proof["index"], size, [bytes.fromhex(h) for h in proof["path"]], root)


def must_fail(what, check, *arguments):
    try:
        check(*arguments)
    except (Invalid, ValueError):
        return
    raise Invalid(f"accepted what is not valid: {what}")


def verify_vectors(folder):
    def read(name):
        return json.loads((folder / f"{name}.json").read_text())

    leaves, tree, notes, proofs = read("leaves"), read("tree"), read("notes"), read("proofs")
    for case in leaves["valid"]:
        data = bytes.fromhex(case["bytes"])
        require(decode_leaf(data) == case["leaf"], "a leaf decodes differently")
        require(leaf_hash(data).hex() == case["hash"], "a leaf hashes differently")
    for name, data in leaves["invalid"].items():
        must_fail(name, decode_leaf, bytes.fromhex(data))
    hashes = [bytes.fromhex(h) for h in tree["leaf_hashes"]]
    roots = [bytes.fromhex(h) for h in tree["roots"]]
    require(roots == [tree_root(hashes[:size]) for size in range(len(roots))], "a root differs")
    for case in tree["inclusion"]:
        path, size = [bytes.fromhex(h) for h in case["path"]], case["size"]
        verify_inclusion(hashes[case["index"]], case["index"], size, path, roots[size])
        must_fail("a wrong leaf", verify_inclusion, sha256(b"x"), case["index"], size, path, roots[size])
    for case in tree["consistency"]:
        path, old, new = [bytes.fromhex(h) for h in case["path"]], case["old_size"], case["new_size"]
        verify_consistency(old, roots[old], new, roots[new], path)
        must_fail("a wrong root", verify_consistency, old, sha256(b"x"), new, roots[new], path)
    expected = notes["size"], bytes.fromhex(notes["root"])
    require(open_checkpoint(notes["checkpoint"], notes["key"]) == expected, "the checkpoint differs")
    require(sha256(notes["origin"].encode()).hex() == notes["log_id"], "the log id differs")
    anchor = bytes.fromhex(notes["log_id"]) + struct.pack(">Q", notes["size"]) + bytes.fromhex(notes["root"])
    require(anchor.hex() == notes["anchor"], "the anchor differs")
    require((anchor[40:67] + anchor[35:40]).hex() == notes["evm_head"], "the head differs")
    require(decode_memo(notes["memo"]) == anchor, "the memo differs")
    for name, memo in notes["invalid_memos"].items():
        must_fail(name, decode_memo, memo)
    must_fail("a forged checkpoint", open_checkpoint, notes["forged"], notes["key"])
    verify_proof(proofs["valid"], proofs["key"])
    for name, case in proofs["invalid"].items():
        must_fail(name, verify_proof, case["proof"], proofs["key"])


def main():
    try:
        if len(sys.argv) == 3:
            verify_proof(json.loads(pathlib.Path(sys.argv[1]).read_text()), sys.argv[2])
        else:
            verify_vectors(pathlib.Path(__file__).parent)
    except Invalid as invalid:
        sys.exit(f"does not verify: {invalid}")
    print("verified")


main()
