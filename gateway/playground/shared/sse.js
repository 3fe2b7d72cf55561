// Server-sent events from the body of fetch: EventSource can neither POST nor be aborted.

/** Yield {event, data} of each block; comments are ignored. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const from = Math.max(0, buffer.length - 1); // the blank line may be split between two chunks
      buffer += value;
      let end = buffer.indexOf("\n\n", from);
      while (end >= 0) {
        const block = parse(buffer.slice(0, end));
        buffer = buffer.slice(end + 2);
        if (block.data) yield block;
        end = buffer.indexOf("\n\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // the rest is not needed
  }
}

/** Return the event of one block of lines. */
export function parse(block) {
  const event = { event: "message", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") event.event = value;
    if (name === "data") event.data += event.data ? `\n${value}` : value;
  }
  return event;
}
