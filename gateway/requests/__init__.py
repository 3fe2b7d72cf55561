"""One request for images, from its JSON to the answer: at once, streamed, or repeated."""
