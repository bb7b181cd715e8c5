// gRPC-web as a browser speaks it: fetch, frames and protobuf by hand, nothing generated. Runs in Node and in browsers.

const TYPE = "application/grpc-web+proto";
const utf8 = new TextEncoder();

// Protobuf, as much as is needed here: texts, whole numbers, nested messages.

function varint(number) {
  const bytes = [];
  for (; number > 127; number = Math.floor(number / 128)) bytes.push((number % 128) | 128);
  return [...bytes, number];
}

// encode([[1, "text"], [2, 7], [3, [nested]]])
export function encode(fields) {
  const bytes = fields.flatMap(([number, value]) => {
    if (typeof value === "number") return [...varint(number * 8), ...varint(value)];
    const content = typeof value === "string" ? utf8.encode(value) : encode(value);
    return [...varint(number * 8 + 2), ...varint(content.length), ...content];
  });
  return Uint8Array.from(bytes);
}

// A message's fields by number, each a list: numbers as they are, everything else as bytes.
export function decode(bytes) {
  const fields = {};
  let at = 0;
  const number = () => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const tag = number();
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    let value;
    if (kind === 0) value = number();
    else {
      const length = kind === 2 ? number() : kind === 1 ? 8 : 4;
      value = bytes.subarray(at, at + length);
      at += length;
    }
    (fields[field] ??= []).push(value);
  }
  return fields;
}

export const text = (bytes) => new TextDecoder("utf-8", { fatal: true }).decode(bytes ?? new Uint8Array());

// Calls a method and yields its messages as they come. Throws { code, message } for an error status.
export async function* call(server, method, key, request, signal) {
  const frame = new Uint8Array(5 + request.length);
  new DataView(frame.buffer).setUint32(1, request.length);
  frame.set(request, 5);
  const headers = { "content-type": TYPE, accept: TYPE, "x-grpc-web": "1" };
  if (key) headers.authorization = `Bearer ${key}`;
  const response = await fetch(`${server}/steward.v1.${method}`, { method: "POST", mode: "cors", headers, body: frame, signal });
  if (!response.ok) throw { code: -1, message: `HTTP ${response.status}` };
  // An error without a message may come as headers only.
  refuse(response.headers.get("grpc-status"), response.headers.get("grpc-message"));
  for await (const [flags, content] of frames(response.body.getReader())) {
    if (flags & 128) {
      const trailers = new Map(text(content).split("\r\n").filter(Boolean).map((line) => line.split(/:\s*(.*)/s)));
      refuse(trailers.get("grpc-status"), trailers.get("grpc-message"));
      return;
    }
    yield decode(content);
  }
  throw { code: -1, message: "the stream ended without trailers" };
}

function refuse(status, message) {
  if (status && status !== "0") throw { code: Number(status), message: decodeURIComponent(message ?? "") };
}

async function* frames(reader) {
  let kept = new Uint8Array();
  for (;;) {
    while (kept.length >= 5) {
      const length = new DataView(kept.buffer, kept.byteOffset).getUint32(1);
      if (kept.length < 5 + length) break;
      yield [kept[0], kept.subarray(5, 5 + length)];
      kept = kept.subarray(5 + length);
    }
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(kept.length + value.length);
    joined.set(kept);
    joined.set(value, kept.length);
    kept = joined;
  }
}

async function unary(...args) {
  for await (const message of call(...args)) return message;
}

// What the tests have a browser do: a unary call, a stream that goes on while a message is sent beside it, two errors.
export async function scenario(server, key, session) {
  const listed = await unary(server, "Projects/List", key, new Uint8Array());
  const projects = (listed[1] ?? []).map((project) => text(decode(project)[1][0]));

  const [sequences, replies] = [[], []];
  const leave = new AbortController();
  const REPLY = 8, TURN_FINISHED = 15;
  for await (const event of call(server, "Sessions/Watch", key, encode([[1, session], [2, 1]]), leave.signal)) {
    // Sent only once the stream is open and has shown an event: its turn must come on this very stream.
    if (sequences.length === 0) await unary(server, "Sessions/Send", key, encode([[1, session], [2, [[1, "hello from a page"]]]]));
    sequences.push(event[1][0]);
    const kind = event[5]?.[0];
    if (kind === REPLY) replies.push(text(event[6][0]));
    if (kind === TURN_FINISHED) break;
  }
  leave.abort();

  const refused = async (...args) => {
    try {
      await unary(server, ...args);
      return 0;
    } catch (error) {
      return error.code;
    }
  };
  const stranger = await refused("Projects/List", "", new Uint8Array());
  const absent = await refused("Sessions/Get", key, encode([[1, `ses_${"0".repeat(32)}`]]));
  return { projects, sequences, replies, stranger, absent };
}
