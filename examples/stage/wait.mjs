// Waiting for something to become true, with an end.

const PAUSE_MS = 20;

/** The first truthy answer of `look`, asked again and again. `what` is named when there is none `within` so many milliseconds. */
export async function until(what, look, { within = 30_000 } = {}) {
  const end = Date.now() + within;
  for (;;) {
    const answer = await look();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`${what}: not within ${within} ms`);
    await new Promise((next) => setTimeout(next, PAUSE_MS));
  }
}
